"""Topics: what Kafka says of a topic that decides which records it takes."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from time import monotonic
from typing import Any

from aiokafka.protocol.admin import DescribeConfigsRequest

TOPIC_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}")  # what Kafka accepts (org.apache.kafka.common.internals.Topic)

log = logging.getLogger("evbus_like.lane")

TOPIC = 2  # the type of a resource (org.apache.kafka.common.config.ConfigResource)
NAMES = ["max.message.bytes", "cleanup.policy", "min.insync.replicas"]
ASK_WITHIN = 2.0  # seconds
ASK_EVERY = 30.0  # seconds until a topic is asked about again
KEPT = 90.0  # seconds for which puts are refused by an answer
MAX_TOPICS = 10_000  # that are remembered
FRESH = 2.0  # seconds for which an answer is certain
AT_ONCE = 200  # topics of one request


@dataclass(frozen=True)
class Rules:
    """What a topic takes; the defaults stand for what is not known."""

    max_bytes: int | None = None  # of a batch, after compression
    needs_key: bool = False
    min_replicas: int = 1  # in sync, before a record is confirmed with acks: all


UNKNOWN = Rules()


def wrong_name(topic: str) -> str | None:
    """Say why a text cannot be the name of a topic; None if it can."""
    if TOPIC_NAME.fullmatch(topic) and topic not in (".", ".."):
        return None
    return (
        f"{topic!r} is not a valid Kafka topic name (letters, digits, '.', '_', '-', 249 at most); change the routing"
        " key, or the service's name, or name the topics in the profile"
    )


def too_large(size: int, topic: str, largest: int) -> str:
    """Say that a record is larger than its topic takes."""
    return (
        f"the record is {size} bytes with its key and headers, and max.message.bytes of topic {topic!r} is {largest}:"
        " send less, or a reference to it"
    )


class TopicRules:
    """The rules of topics, as far as the user may read them; those of others are unknown, and Kafka refuses records."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Rules, float]] = {}  # and when they were asked for
        self.learnt: Callable[[], None] = _nobody  # called after every answer

    def of(self, topic: str) -> Rules:
        """Give what is known of a topic."""
        known = self._known.get(topic)
        return UNKNOWN if known is None else known[0]

    def now(self, topic: str) -> Rules:
        """Give what is known for certain, because it was asked a moment ago: enough to refuse a record by."""
        return self.of(topic) if self._asked(topic) > monotonic() - FRESH else UNKNOWN

    def lately(self, topic: str) -> Rules:
        """Give what is known well enough to refuse a put by: Kafka is asked again before long, if it is reached."""
        return self.of(topic) if self._asked(topic) > monotonic() - KEPT else UNKNOWN

    def _asked(self, topic: str) -> float:
        known = self._known.get(topic)
        return float("-inf") if known is None else known[1]

    def forget(self, topic: str) -> None:
        """Ask about a topic again, because it has refused a record."""
        self._known.pop(topic, None)

    async def ask(self, client: Any, topics: Collection[str]) -> None:
        """Ask about topics that are not known, or not any more; never raises."""
        now = monotonic()
        wanted = [topic for topic in topics if self._asked(topic) < now - ASK_EVERY][:AT_ONCE]
        if not wanted:
            return
        if len(self._known) + len(wanted) > MAX_TOPICS:
            self._known.clear()
        found: dict[str, Rules] = {}
        try:
            async with asyncio.timeout(ASK_WITHIN):
                request = DescribeConfigsRequest([(TOPIC, topic, NAMES) for topic in wanted])
                answer = await client.send(client.get_random_node(), request)
            found = {name: _rules(entries) for error, _, _, name, entries in answer.resources if not error}
        except Exception as error:  # without an answer Kafka itself refuses what it does not take
            log.debug("the rules of topics cannot be read: %s", error)
        for topic in wanted:
            self._known[topic] = (found.get(topic, UNKNOWN), now)
        self.learnt()

    async def keep_asking(self, client: Any, topics: Collection[str]) -> None:
        """Ask about these topics at once, and about all that are known from time to time, without end."""
        while True:
            names = list(dict.fromkeys((*topics, *self._known)))
            for at in range(0, len(names), AT_ONCE):
                await self.ask(client, names[at : at + AT_ONCE])
            await asyncio.sleep(ASK_EVERY)


def _nobody() -> None:
    """Do nothing: nobody wants to know."""


def _rules(entries: Any) -> Rules:
    values = {name: value for name, value, *_ in entries}
    return Rules(
        int(values.get("max.message.bytes") or 0) or None,
        "compact" in (values.get("cleanup.policy") or ""),
        int(values.get("min.insync.replicas") or 1),
    )

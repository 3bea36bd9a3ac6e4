"""Topics: what Kafka says of a topic that decides which records it takes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from dataclasses import dataclass
from time import monotonic
from typing import Any

from aiokafka.protocol.admin import DescribeConfigsRequest

log = logging.getLogger("evbus_like.lane")

TOPIC = 2  # the type of a resource (org.apache.kafka.common.config.ConfigResource)
NAMES = ["max.message.bytes", "cleanup.policy", "min.insync.replicas"]
ASK_WITHIN = 2.0  # seconds
ASK_EVERY = 60.0  # seconds until a topic is asked about again
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


class TopicRules:
    """The rules of topics, as far as the user may read them; those of others are unknown, and Kafka refuses records."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Rules, float]] = {}  # and when they were asked for

    def of(self, topic: str) -> Rules:
        """Give what is known of a topic."""
        known = self._known.get(topic)
        return UNKNOWN if known is None else known[0]

    def now(self, topic: str) -> Rules:
        """Give what is known for certain, because it was asked a moment ago: enough to refuse a record by."""
        return self.of(topic) if self._asked(topic) > monotonic() - FRESH else UNKNOWN

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


def _rules(entries: Any) -> Rules:
    values = {name: value for name, value, *_ in entries}
    return Rules(
        int(values.get("max.message.bytes") or 0) or None,
        "compact" in (values.get("cleanup.policy") or ""),
        int(values.get("min.insync.replicas") or 1),
    )

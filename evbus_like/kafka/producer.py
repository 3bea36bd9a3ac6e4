"""A producer: one aiokafka producer that sends batches in order, confirmed by all replicas."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any

import aiokafka

from evbus_like.engine.destination import Outcomes
from evbus_like.engine.errors import DestinationRefused, PoisonEvent, ProfileError, TransientError
from evbus_like.engine.event import Event
from evbus_like.kafka import failures
from evbus_like.kafka.connect import keywords, place

ID_HEADER = "evbus-id"
TOPIC_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}")  # what Kafka accepts (org.apache.kafka.common.internals.Topic)
TOPIC_WAIT = 5.0  # seconds that a topic's metadata is waited for; creating one takes less
MISSING_FOR = 15.0  # seconds until a missing topic is looked for again
CLOSE_WAIT = 3.0  # seconds; aiokafka's own stop waits for ever while the broker is down

# At DEBUG it logs records and logins.
logging.getLogger("aiokafka").setLevel(max(logging.INFO, logging.getLogger("aiokafka").level))


class Producer:
    """Sends for one profile; what is not confirmed is the lane's to send again."""

    def __init__(self, acct: Mapping[str, Any]) -> None:
        self.place = place(acct.get("connection") or {})
        self._keywords = {
            "acks": "all",
            "enable_idempotence": True,
            "max_batch_size": 256 * 1024,
            "request_timeout_ms": 20_000,
            **keywords(acct),
        }
        if self._keywords["acks"] not in ("all", -1):
            self._keywords["enable_idempotence"] = (acct.get("connection") or {}).get("enable_idempotence", False)
        topics = acct.get("topics")
        self.topics = (topics,) if isinstance(topics, str) else tuple(topics or ())
        self.key = _bytes(acct.get("key"))
        self.partition = acct.get("partition")
        self._producer: aiokafka.AIOKafkaProducer | None = None
        self._missing: dict[str, float] = {}

    async def open(self) -> None:
        """Connect to the cluster; raises DeliveryError."""
        await self.close()
        try:
            self._producer = aiokafka.AIOKafkaProducer(**self._keywords)
        except (ValueError, RuntimeError) as error:
            raise ProfileError(f"the connection's options do not fit together: {error}") from None
        try:
            await self._producer.start()
        except Exception as error:
            client = self._producer.client
            await self.close()
            raise await failures.connecting(error, self.place, client) from error

    async def publish(self, events: Sequence[Event]) -> Outcomes | None:
        """Send a batch to its topics and wait for all confirms."""
        if self._producer is None:
            await self.open()
        problems = await self._look_up({topic for event in events for topic in self._topics(event)})
        sent = [await self._send(event, problems) for event in events]
        answers = [future for futures in sent if isinstance(futures, list) for future in futures]
        if answers:
            await asyncio.wait(answers)
        outcomes = [self._outcome(futures) for futures in sent]
        return outcomes if any(outcomes) else None

    def _topics(self, event: Event) -> tuple[str, ...]:
        return self.topics or (event.routing_key,)

    async def _look_up(self, topics: set[str]) -> dict[str, Exception]:
        """Make sure of the topics' metadata, all at once, and say which topics cannot be sent to."""
        problems = dict(zip(topics, await asyncio.gather(*map(self._problem, topics)), strict=True))
        return {topic: problem for topic, problem in problems.items() if problem is not None}

    async def _problem(self, topic: str) -> Exception | None:
        assert self._producer is not None
        if not TOPIC_NAME.fullmatch(topic):
            return PoisonEvent(
                f"{topic!r} is no name for a Kafka topic (letters, digits, '.', '_', '-', 249 at most);"
                " change the routing key, or name the topics in the profile"
            )
        if self._missing.get(topic, 0.0) < monotonic():
            try:
                async with asyncio.timeout(TOPIC_WAIT):
                    partitions = await self._producer.partitions_for(topic)
                self._missing.pop(topic, None)
                if self.partition is not None and self.partition not in partitions:
                    return DestinationRefused(f"topic {topic!r} has no partition {self.partition}; it has {partitions}")
                return None
            except (TimeoutError, failures.kafka.UnknownTopicOrPartitionError):
                if not self._producer.client.cluster.brokers():
                    return TransientError(f"Kafka at {self.place} tells nothing of its topics")
                self._missing[topic] = monotonic() + MISSING_FOR
            except failures.kafka.KafkaError as error:
                return failures.publishing(error, self.place)
        text = (
            f"topic {topic!r} does not exist at Kafka {self.place} and is not made by itself:"
            f" kafka-topics.sh --create --topic {topic}"
        )
        return DestinationRefused(text) if self.topics else PoisonEvent(text)

    async def _send(self, event: Event, problems: Mapping[str, Exception]) -> list[asyncio.Future[Any]] | Exception:
        """Hand one event to the producer's batches; gives what will hold the confirms."""
        assert self._producer is not None
        topics = self._topics(event)
        for topic in topics:
            if topic in problems:
                return problems[topic]
        key = self.key or _bytes(event.key) or event.routing_key.encode() or None
        headers = _headers(event)
        try:
            return [
                await self._producer.send(
                    topic,
                    event.body,
                    key=key,
                    partition=self.partition,
                    timestamp_ms=int(event.timestamp * 1000),
                    headers=headers,
                )
                for topic in topics
            ]
        except failures.kafka.KafkaError as error:
            return failures.publishing(error, self.place)

    def _outcome(self, futures: list[asyncio.Future[Any]] | Exception) -> Exception | None:
        if isinstance(futures, Exception):
            return futures
        for future in futures:
            error = ConnectionError("cancelled") if future.cancelled() else future.exception()
            if error is not None:
                return failures.publishing(error, self.place)
        return None

    async def ping(self) -> None:
        """Ask the cluster for its metadata, and look at the profile's topics."""
        assert self._producer is not None
        await self._producer.client.force_metadata_update()
        for problem in (await self._look_up(set(self.topics))).values():
            raise problem

    async def close(self) -> None:
        """Stop the producer, in bounded time."""
        producer, self._producer = self._producer, None
        if producer is None:
            return
        try:
            async with asyncio.timeout(CLOSE_WAIT):
                await producer.stop()
        except Exception:
            sender = getattr(getattr(producer, "_sender", None), "sender_task", None)
            if sender is not None:
                sender.cancel()
            async with asyncio.timeout(CLOSE_WAIT):
                await producer.client.close()


def _bytes(value: Any) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def _headers(event: Event) -> list[tuple[str, bytes]]:
    """Kafka's headers are bytes; text and numbers are sent as UTF-8 text, None as nothing."""
    headers = [(ID_HEADER, event.id.encode()), ("content-type", event.content_type.encode())]
    for name, value in (event.headers or {}).items():
        headers.append((name, value if isinstance(value, bytes) else b"" if value is None else str(value).encode()))
    return headers

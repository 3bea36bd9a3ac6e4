"""A producer: one aiokafka producer that sends batches in order, confirmed by all replicas."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import aiokafka

from evbus_like.engine.destination import Outcomes
from evbus_like.engine.errors import DestinationRefused, PoisonEvent, ProfileError, TransientError, UnknownOutcome
from evbus_like.engine.event import Event
from evbus_like.kafka import failures
from evbus_like.kafka.batches import Batch, Headers, Partitioner, Stack, in_rounds
from evbus_like.kafka.connect import keywords, place

ID_HEADER = "evbus-id"
TOPIC_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}")  # what Kafka accepts (org.apache.kafka.common.internals.Topic)
TOPIC_WAIT = 5.0  # seconds that a topic's metadata is waited for; creating one takes less
MISSING_FOR = 15.0  # seconds until a missing topic is looked for again
CLOSE_WAIT = 3.0  # seconds; aiokafka's own stop waits for ever while the broker is down

# At DEBUG it logs records and logins.
logging.getLogger("aiokafka").setLevel(max(logging.INFO, logging.getLogger("aiokafka").level))


@dataclass
class Plan:
    """Where events of one routing key and one key go, within one call of publish."""

    key: bytes | None
    stacks: list[Stack] = field(default_factory=list)
    problem: Exception | None = None


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
        self._partitioner = Partitioner()
        self._one_a_batch = False
        self._content_types: dict[str, tuple[str, bytes]] = {}
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
        assert self._producer is not None
        topics = await self._look_up(set(self.topics) or {event.routing_key for event in events})
        outcomes: list[Any] = [None] * len(events)
        stacks: dict[tuple[str, int], Stack] = {}
        plans: dict[Any, Plan] = {}
        for position, event in enumerate(events):
            names = (event.routing_key, event.key)
            plan = plans.get(names)
            if plan is None:
                plan = plans[names] = self._plan(event, topics, stacks)
            outcomes[position] = plan.problem
            headers = self._headers(event)
            for stack in plan.stacks:
                stack.add(position, int(event.timestamp * 1000), plan.key, event.body, headers)
        sent = []
        for batch in in_rounds(stacks.values()):
            try:
                sent.append((batch, await self._send(batch)))
            except failures.kafka.KafkaError as error:
                self._blame(batch, error, outcomes)
        waited_for = any(event.receipt is not None for event in events)
        if sent:
            await asyncio.wait([future for _, future in sent])
        for batch, future in sent:
            error = ConnectionError("cancelled") if future.cancelled() else future.exception()
            if error is not None:
                self._blame(batch, error, outcomes)
            elif waited_for:
                _answer(batch, future.result(), outcomes)
        if not any(outcomes):
            return None
        if any(isinstance(error, (TransientError, UnknownOutcome)) for error in outcomes):
            # An idempotent producer counts its batches by partition: one that was lost leaves a gap, and the broker
            # then refuses all that follow it (OutOfOrderSequenceNumber). The next publish makes a new one.
            await self.close()
        return outcomes

    async def _send(self, batch: Batch) -> asyncio.Future[Any]:
        assert self._producer is not None
        return await self._producer.send_batch(batch.builder, batch.topic, partition=batch.partition)

    def _blame(self, batch: Batch, error: BaseException, outcomes: list[Any]) -> None:
        """Note what went wrong with a batch, for each of its events."""
        kind = failures.publishing(error, self.place)
        if isinstance(kind, PoisonEvent) and len(batch.positions) > 1:
            self._one_a_batch = True  # the topic takes smaller batches than we send: its events are tried one by one
            kind = TransientError(f"{kind}; sent again in smaller batches")
        for position in batch.positions:
            if not isinstance(outcomes[position], Exception):
                outcomes[position] = kind

    def _plan(
        self, event: Event, topics: Mapping[str, Sequence[int] | Exception], stacks: dict[tuple[str, int], Stack]
    ) -> Plan:
        """Work out where events of this routing key and key go; what one topic cannot take goes to none."""
        key = self.key or _bytes(event.key) or event.routing_key.encode() or None
        plan = Plan(key)
        for topic in self._topics(event):
            partitions = topics[topic]
            if isinstance(partitions, Exception):
                return Plan(key, problem=partitions)
            place = (topic, self._partitioner.partition(key, partitions) if self.partition is None else self.partition)
            if place not in stacks:
                stacks[place] = Stack(self._producer, *place, 1 if self._one_a_batch else None)
            plan.stacks.append(stacks[place])
        return plan

    def _topics(self, event: Event) -> tuple[str, ...]:
        return self.topics or (event.routing_key,)

    def _headers(self, event: Event) -> Headers:
        """Kafka's headers are bytes; text and numbers are sent as UTF-8 text, None as nothing."""
        content_type = self._content_types.get(event.content_type)
        if content_type is None:
            content_type = self._content_types[event.content_type] = ("content-type", event.content_type.encode())
        headers = [(ID_HEADER, event.id.encode()), content_type]
        for name, value in event.headers.items() if event.headers else ():
            headers.append((name, value if isinstance(value, bytes) else b"" if value is None else str(value).encode()))
        return headers

    async def _look_up(self, topics: set[str]) -> dict[str, Sequence[int] | Exception]:
        """Give every topic's partitions, or why it cannot be sent to; all topics are asked for at once."""
        answers = await asyncio.gather(*map(self._partitions, topics))
        return dict(zip(topics, answers, strict=True))

    async def _partitions(self, topic: str) -> Sequence[int] | Exception:
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
                return sorted(partitions)
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

    async def ping(self) -> None:
        """Ask the cluster for its metadata, and look at the profile's topics."""
        assert self._producer is not None
        await self._producer.client.force_metadata_update()
        for answer in (await self._look_up(set(self.topics))).values():
            if isinstance(answer, Exception):
                raise answer

    async def close(self) -> None:
        """Stop the producer, in bounded time."""
        producer, self._producer = self._producer, None
        if producer is None:
            return
        # aiokafka leaks the socket of a connection that is cancelled while it is made, as close does to its look-ups
        looking_up = getattr(producer.client, "_md_update_fut", None)
        if looking_up is not None and not looking_up.done():
            await asyncio.wait([looking_up], timeout=CLOSE_WAIT / 3)
        try:
            async with asyncio.timeout(CLOSE_WAIT):
                await producer.stop()
        except Exception:
            sender = getattr(getattr(producer, "_sender", None), "sender_task", None)
            if sender is not None:
                sender.cancel()
                await asyncio.wait([sender], timeout=CLOSE_WAIT)
            async with asyncio.timeout(CLOSE_WAIT):
                await producer.client.close()


def _answer(batch: Batch, record: Any, outcomes: list[Any]) -> None:
    """Note where the cluster put the events of a batch; of several topics, the first."""
    for index, position in enumerate(batch.positions):
        if outcomes[position] is None:
            outcomes[position] = {
                "topic": batch.topic,
                "partition": batch.partition,
                "offset": record.offset + index,
            }


def _bytes(value: Any) -> bytes | None:
    return value.encode() if isinstance(value, str) else value

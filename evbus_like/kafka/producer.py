"""A producer: one aiokafka producer that sends batches in order, confirmed by all replicas."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any

import aiokafka

from evbus_like.engine.errors import DestinationRefused, PoisonEvent, ProfileError, TransientError, UnknownOutcome
from evbus_like.engine.event import Event
from evbus_like.engine.sending.destination import LaneOptions, Outcomes
from evbus_like.kafka import closing, failures, leaders
from evbus_like.kafka.batches import Batch, in_rounds
from evbus_like.kafka.connect import keywords, place
from evbus_like.kafka.leaders import NoLeader, Place
from evbus_like.kafka.plan import Layout, Planner

TOPIC_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}")  # what Kafka accepts (org.apache.kafka.common.internals.Topic)
TOPIC_WAIT = 5.0  # seconds that a topic's metadata is waited for; creating one takes less
MISSING_FOR = 15.0  # seconds until a missing topic is looked for again
ANSWER_TIME = 2.0  # seconds, at most, by which an answer comes before the lane's deadline: it says what is confirmed

# At DEBUG it logs records and logins.
logging.getLogger("aiokafka").setLevel(max(logging.INFO, logging.getLogger("aiokafka").level))

Sent = tuple[Batch, asyncio.Future[Any]]


class Producer:
    """Sends for one profile; what is not confirmed is the lane's to send again."""

    def __init__(self, acct: Mapping[str, Any]) -> None:
        self.place = place(acct.get("connection") or {})
        self._planner = Planner(acct)
        self._keywords = {
            "acks": "all",
            "enable_idempotence": True,
            "max_batch_size": 256 * 1024,
            "request_timeout_ms": 20_000,
            **keywords(acct),
        }
        if self._keywords["acks"] not in ("all", -1):
            self._keywords["enable_idempotence"] = (acct.get("connection") or {}).get("enable_idempotence", False)
        self.topics = self._planner.topics
        self._producer: aiokafka.AIOKafkaProducer | None = None
        self._missing: dict[str, float] = {}
        timeout = acct.get("timeout") or LaneOptions.timeout
        self._patience = timeout - min(ANSWER_TIME, timeout / 4)  # seconds that confirms are waited for
        self._given_up = False  # whether the producer holds records that are to be sent again
        self._leaderless: set[Place] = set()  # partitions that had no leader at the latest publish

    async def open(self) -> None:
        """Connect to the cluster; raises DeliveryError."""
        await self.close()
        try:
            self._producer = aiokafka.AIOKafkaProducer(**self._keywords)
            leaders.pace(self._producer.client)
        except (ValueError, RuntimeError) as error:
            raise ProfileError(f"the connection's options do not fit together: {error}") from None
        try:
            await self._producer.start()
        except Exception as error:
            client = self._producer.client
            await self.close()
            raise await failures.connecting(error, self.place, client) from error

    async def publish(self, events: Sequence[Event]) -> Outcomes | None:
        """Send a batch to its topics and wait for all confirms, until shortly before the lane's deadline."""
        deadline = asyncio.get_running_loop().time() + self._patience
        if self._producer is None or self._given_up:
            await self.open()
        layout = await self._lay_out(events)
        outcomes = layout.outcomes
        sent = await self._send_all(in_rounds(layout.stacks.values()), outcomes, deadline)
        waited_for = any(event.receipt is not None for event in events)
        for batch, future in sent:
            if not future.done():
                self._give_up(batch, future, outcomes)
                continue
            error = ConnectionError("cancelled") if future.cancelled() else future.exception()
            if error is not None:
                self._blame(batch, error, outcomes)
            elif waited_for:
                _answer(batch, future.result(), outcomes)
        if not any(outcomes):
            return None
        if any(map(_spoils, outcomes)) and not self._given_up:
            # An idempotent producer counts its batches by partition: one that was lost leaves a gap, and the broker
            # then refuses all that follow it (OutOfOrderSequenceNumber). The next publish makes a new one.
            await self.close()
        return outcomes

    async def _lay_out(self, events: Sequence[Event]) -> Layout:
        """Make the records of those events whose partitions have leaders; where some have none, look for them first."""
        topics = await self._look_up(
            set(self.topics) or {self._planner.topic(event) if event.headers else event.routing_key for event in events}
        )
        layout = self._planner.lay_out(self._producer, events, topics)
        if layout.leaderless:
            assert self._producer is not None
            again = layout.leaderless <= self._leaderless
            await leaders.look(self._producer.client, layout.leaderless, again, self._patience / 2)
            layout = self._planner.lay_out(self._producer, events, topics)
        self._leaderless = layout.leaderless
        return layout

    async def _send_all(self, batches: Sequence[Batch], outcomes: list[Any], deadline: float) -> list[Sent]:
        """Hand batches to aiokafka in order, and wait for their futures; at the deadline some are not done."""
        sent: list[Sent] = []
        try:
            await self._hand_over(batches, outcomes, deadline, sent)
            if sent:
                left = deadline - asyncio.get_running_loop().time()
                await asyncio.wait([future for _, future in sent], timeout=max(0.0, left))
        except BaseException:
            for _, future in sent:
                future.cancel()  # aiokafka's own is behind it; without this, an error that comes later is logged
            raise
        return sent

    async def _hand_over(
        self, batches: Sequence[Batch], outcomes: list[Any], deadline: float, sent: list[Sent]
    ) -> None:
        """Add what aiokafka takes to `sent`; it takes a partition's next batch when the one before has gone."""
        begun: set[Place] = set()
        stuck: set[Place] = set()  # what follows there must not overtake
        for index, batch in enumerate(batches):
            where = (batch.topic, batch.partition)
            try:
                if where in stuck:
                    self._hold(batch, outcomes)
                elif where in begun:
                    async with asyncio.timeout_at(deadline):
                        sent.append((batch, await self._send(batch)))
                else:
                    begun.add(where)
                    sent.append((batch, await self._send(batch)))
            except TimeoutError:
                for late in batches[index:]:
                    self._hold(late, outcomes)
                break
            except failures.kafka.KafkaError as error:
                stuck.add(where)
                self._blame(batch, error, outcomes)

    async def _send(self, batch: Batch) -> asyncio.Future[Any]:
        assert self._producer is not None
        return await self._producer.send_batch(batch.builder, batch.topic, partition=batch.partition)

    def _blame(self, batch: Batch, error: BaseException, outcomes: list[Any]) -> None:
        """Note what went wrong with a batch, for each of its events."""
        kind = failures.publishing(error, self.place)
        if isinstance(kind, PoisonEvent) and len(batch.positions) > 1:
            self._planner.one_a_batch = True  # the topic takes smaller batches than we send
            kind = TransientError(f"{kind}; sent again in smaller batches")
        for position in batch.positions:
            if not isinstance(outcomes[position], Exception):
                outcomes[position] = kind

    def _hold(self, batch: Batch, outcomes: list[Any]) -> None:
        """Note that a batch was not handed to aiokafka."""
        kind = TransientError(
            f"Kafka at {self.place}: events for partition {batch.partition} of topic {batch.topic!r} were not sent, for"
            " records before them are not confirmed; they are sent later"
        )
        for position in batch.positions:
            outcomes[position] = outcomes[position] or kind

    def _give_up(self, batch: Batch, future: asyncio.Future[Any], outcomes: list[Any]) -> None:
        """Note that a batch has no answer yet; its producer must send nothing more, for the next one sends it again."""
        if not self._given_up:
            self._given_up = True
            closing.silence(self._producer)
        future.cancel()
        kind = UnknownOutcome(
            f"Kafka at {self.place}: no answer for partition {batch.partition} of topic {batch.topic!r}"
            f" within {self._patience:g} s; the event is sent again"
        )
        for position in batch.positions:
            if not isinstance(outcomes[position], Exception):
                outcomes[position] = kind

    async def _look_up(self, topics: set[str]) -> dict[str, Sequence[int] | Exception]:
        """Give every topic's partitions, or why it cannot be sent to; all topics are asked for at once."""
        answers = await asyncio.gather(*map(self._partitions, topics))
        return dict(zip(topics, answers, strict=True))

    async def _partitions(self, topic: str) -> Sequence[int] | Exception:
        assert self._producer is not None
        if not TOPIC_NAME.fullmatch(topic):
            return PoisonEvent(
                f"{topic!r} is no name for a Kafka topic (letters, digits, '.', '_', '-', 249 at most);"
                " change the routing key, or the service's name, or name the topics in the profile"
            )
        if self._missing.get(topic, 0.0) < monotonic():
            try:
                async with asyncio.timeout(TOPIC_WAIT):
                    partitions = await self._producer.partitions_for(topic)
                self._missing.pop(topic, None)
                wanted = self._planner.partition
                if wanted is not None and wanted not in partitions:
                    return DestinationRefused(f"topic {topic!r} has no partition {wanted}; it has {partitions}")
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
        given_up, self._given_up = self._given_up, False
        if producer is not None:
            await closing.close(producer, flush=not given_up)


def _answer(batch: Batch, record: Any, outcomes: list[Any]) -> None:
    """Note where the cluster put the events of a batch; of several topics, the first."""
    for index, position in enumerate(batch.positions):
        if outcomes[position] is None:
            outcomes[position] = {
                "topic": batch.topic,
                "partition": batch.partition,
                "offset": record.offset + index,
            }


def _spoils(outcome: Any) -> bool:
    """Whether what went wrong with an event leaves a producer that must be replaced."""
    return isinstance(outcome, (TransientError, UnknownOutcome)) and not isinstance(outcome, NoLeader)

"""The producer of a profile: sends batches in order through aiokafka, confirmed by all in-sync replicas."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import nullcontext
from time import monotonic
from typing import Any

import aiokafka
from aiokafka import errors as kafka

from evbus_like.engine.errors import (
    BatchRejected,
    DeliveryError,
    DestinationRefused,
    PoisonEvent,
    ProfileError,
    Stalled,
    TransientError,
    UnknownOutcome,
)
from evbus_like.engine.event import Event
from evbus_like.engine.sending.destination import LaneOptions, Outcomes
from evbus_like.kafka import brokers, closing, codes, failures, internals, leaders
from evbus_like.kafka.batches import Batch, in_rounds
from evbus_like.kafka.connection import address, keywords
from evbus_like.kafka.in_flight import InFlight, Waiting
from evbus_like.kafka.isolation import Isolation
from evbus_like.kafka.leaders import Place
from evbus_like.kafka.pipeline import Pipeline
from evbus_like.kafka.plan import Layout, Planner
from evbus_like.kafka.topics import wrong_name

TOPIC_WAIT = 5.0  # seconds to wait for a topic's metadata; creating a topic takes less
MISSING_FOR = 15.0  # seconds until a missing topic is looked up again
STALL = 1.0  # seconds without any answer after which partitions wait for themselves, and other events go on
STALL_BESIDE = 0.3  # the same, since the first partition has answered
MAX_SEEN = 10_000  # topics that are remembered
ANSWER_TIME = 2.0  # seconds: publish ends this much before the lane's deadline, to say what is confirmed

# At DEBUG aiokafka logs records and logins.
logging.getLogger("aiokafka").setLevel(max(logging.INFO, logging.getLogger("aiokafka").level))

Sent = tuple[Batch, asyncio.Future[Any] | Exception]


class Producer:
    """Sends the events of one profile; the lane sends again what is not confirmed."""

    def __init__(self, acct: Mapping[str, Any], planner: Planner | None = None) -> None:
        self.address = address(acct.get("connection") or {})
        self._planner = planner or Planner(acct)
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
        self._asking: asyncio.Task[None] | None = None
        self._producer: aiokafka.AIOKafkaProducer | None = None
        self._missing: dict[str, float] = {}
        self._seen: set[str] = set()  # topics that exist, as far as was seen
        timeout = acct.get("timeout") or LaneOptions.timeout
        self._patience = timeout - min(ANSWER_TIME, timeout / 4)  # seconds to wait for confirms
        self._given_up = False  # whether the producer holds records that will be sent again
        self._leaderless: set[Place] = set()  # partitions without a leader at the last publish
        self._in_flight = InFlight()
        self._reasons: dict[Any, Exception] = {}  # why aiokafka sends again what is in flight, by partition
        self._pipeline: Pipeline | None = None

    async def open(self) -> None:
        """Connect to the cluster; raises DeliveryError."""
        await self.close()
        try:
            self._producer = aiokafka.AIOKafkaProducer(**self._keywords)
            internals.check_producer(self._producer)
            self._pipeline = Pipeline(self._producer)
            self._reasons = self._pipeline.reasons
            brokers.follow(self._producer.client)
        except (ValueError, RuntimeError) as error:
            raise ProfileError(f"the options of the connection contradict each other: {error}") from None
        try:
            await self._producer.start()
        except Exception as error:
            client = self._producer.client
            await self.close()
            raise await failures.connecting(error, self.address, client) from error
        asking = self._planner.rules.keep_asking(self._producer.client, self.topics)
        self._asking = asyncio.create_task(asking, name=f"evbus_like topics of {self.address}")

    async def publish(self, events: Sequence[Event]) -> Outcomes | None:
        """Send a batch to its topics and wait for the confirms, until shortly before the lane's deadline."""
        deadline = asyncio.get_running_loop().time() + self._patience
        if self._producer is None or self._given_up:
            await self.open()
        outcomes: list[Any] = [None] * len(events)
        isolation = Isolation(self._planner, events, outcomes)
        held, taken = self._resume(events, outcomes, isolation) if self._in_flight else ({}, set())
        layout = await self._lay_out(events, outcomes, held, taken)
        await self._deliver(events, in_rounds(layout.batches.values()), outcomes, deadline, isolation)
        if not any(outcomes):
            return None
        if any(map(_poisons_producer, outcomes)) and not self._given_up:
            # An idempotent producer numbers its batches: after a lost one the broker refuses all that follow
            # (OutOfOrderSequenceNumber). The next publish makes a new producer.
            await self.close()
        return outcomes

    def _resume(
        self, events: Sequence[Event], outcomes: list[Any], isolation: Isolation
    ) -> tuple[dict[Place, DeliveryError], set[int]]:
        """Take up what was in flight: gives the partitions that still wait, and the positions of what was sent."""
        held: dict[Place, DeliveryError] = {}
        taken: set[int] = set()
        failed: list[Event] = []
        now = asyncio.get_running_loop().time()
        for waiting, is_whole in self._in_flight.resume(events):
            batch, future = waiting.batch, waiting.future
            taken.update(batch.positions)
            if not future.done() and now < waiting.until:
                self._in_flight.add(waiting)
                error: Any = self._stalled(batch)
            else:
                error = self._result(batch, future)
                failed += waiting.events if isinstance(error, BaseException) else ()
            if isinstance(error, BaseException):
                held[batch.topic, batch.partition] = self._fail(batch, error, outcomes, isolation, is_whole)
            else:
                _record_offsets(batch, error, outcomes)
                for position in waiting.unsent_at:
                    _set(outcomes, position, self._unsent(batch))
        self._in_flight.failed_elsewhere(failed)
        return held, taken

    async def _deliver(
        self,
        events: Sequence[Event],
        batches: Sequence[Batch],
        outcomes: list[Any],
        deadline: float,
        isolation: Isolation,
    ) -> None:
        """Send batches and set the outcomes; a batch that is refused for some records is sent again without them."""
        wants_answers = any(event.receipt is not None for event in events)
        while batches or isolation:
            for batch, result in await self._send_all(batches, events, deadline):
                if not isinstance(result, BaseException):
                    isolation.confirmed(batch)
                    if wants_answers:
                        _record_offsets(batch, result, outcomes)
                else:
                    self._fail(batch, result, outcomes, isolation)
            if not isolation:
                return
            try:
                await self._renew(isolation.topics())
            except DeliveryError as error:
                self._leave(isolation, outcomes, error)
                return
            if self._given_up or asyncio.get_running_loop().time() > deadline:
                late = "its batch was refused for other events, and there was no time to send it again"
                self._leave(isolation, outcomes, BatchRejected(f"Kafka at {self.address}: {late}", False))
                return
            batches = []
            while not batches and isolation:
                batches = list(isolation.batches(self._producer))

    async def _renew(self, topics: set[str]) -> None:
        """Use a new producer: the broker takes nothing more of one whose batch it has refused (see above)."""
        if not self._given_up:
            await self.close()
            await self.open()
            assert self._producer is not None
            await self._planner.rules.ask(self._producer.client, topics)

    @staticmethod
    def _leave(isolation: Isolation, outcomes: list[Any], error: DeliveryError) -> None:
        for position in isolation.left():
            _set(outcomes, position, error)

    async def _lay_out(
        self,
        events: Sequence[Event],
        outcomes: list[Any],
        held: Mapping[Place, DeliveryError],
        taken: Set[int],
    ) -> Layout:
        """Make the records of events; where partitions have no leader, look for leaders first."""
        topics = await self._look_up(
            set(self.topics) or {self._planner.topic(event) if event.headers else event.routing_key for event in events}
        )
        layout = self._planner.lay_out(self._producer, events, topics, list(outcomes), held, taken)
        if layout.leaderless:
            assert self._producer is not None
            again = layout.leaderless <= self._leaderless
            await leaders.look_up(self._producer.client, layout.leaderless, again, self._patience / 2)
            layout = self._planner.lay_out(self._producer, events, topics, list(outcomes), held, taken)
        self._leaderless = layout.leaderless
        outcomes[:] = layout.outcomes
        return layout

    async def _send_all(
        self, batches: Sequence[Batch], events: Sequence[Event], deadline: float
    ) -> list[tuple[Batch, Any]]:
        """Send batches in order; gives what the broker answered to each, or why it did not: an exception.

        What has no answer when none has come for a second is in flight from then on, until the deadline.
        """
        sent: list[Sent] = []
        try:
            await self._submit(batches, deadline, sent)
            futures = [result for _, result in sent if isinstance(result, asyncio.Future)]
            await _answers(futures, deadline, self._in_flight.sent_before(deadline - STALL))
        except BaseException:
            for _, result in sent:
                if isinstance(result, asyncio.Future):
                    result.cancel()  # or an error that comes later is logged as never retrieved
            raise
        late = asyncio.get_running_loop().time() >= deadline
        results: list[tuple[Batch, Any]] = []
        waiting: list[tuple[Batch, asyncio.Future[Any]]] = []
        for batch, result in sent:
            if late or isinstance(result, Exception) or result.done():
                results.append((batch, self._result(batch, result)))
            else:
                waiting.append((batch, result))
                results.append((batch, self._stalled(batch)))
        self._await_later(waiting, results, events, deadline)
        return results

    def _await_later(
        self,
        waiting: Sequence[tuple[Batch, asyncio.Future[Any]]],
        results: Sequence[tuple[Batch, Any]],
        events: Sequence[Event],
        deadline: float,
    ) -> None:
        """Keep what is in flight for the next publishes, and which of its events failed in another batch."""
        later = {id(batch) for batch, _ in waiting}
        failed: set[int] = set()
        if waiting and len(self.topics) > 1:
            for batch, result in results:
                if isinstance(result, BaseException) and id(batch) not in later:
                    failed.update(batch.positions)
        for batch, future in waiting:
            mine = [events[position] for position in batch.positions]
            unsent = [events[position] for position in batch.positions if position in failed]
            self._in_flight.add(Waiting(batch, future, mine, deadline, unsent))

    def _result(self, batch: Batch, result: asyncio.Future[Any] | Exception) -> Any:
        if isinstance(result, Exception):
            return result
        if not result.done():
            return self._give_up(batch, result)
        error = ConnectionError("cancelled") if result.cancelled() else result.exception()
        return result.result() if error is None else error

    async def _submit(self, batches: Sequence[Batch], deadline: float, sent: list[Sent]) -> None:
        """Give batches to aiokafka; a partition's next batch waits until the one before is sent."""
        begun: dict[Place, asyncio.Future[Any]] = {}  # the latest batch of each partition
        stuck: set[Place] = set()  # later batches of these must not overtake
        now, patience = asyncio.get_running_loop().time, STALL
        for batch in batches:
            where = (batch.topic, batch.partition)
            try:
                before = begun.get(where)
                if where in stuck or (before is not None and _failed(before)):
                    sent.append((batch, self._held(batch)))
                    continue
                until = min(deadline, now() + patience)
                async with asyncio.timeout_at(until) if before is not None else nullcontext():
                    begun[where] = await self._send(batch)
                sent.append((batch, begun[where]))
            except TimeoutError:
                patience = 0.0  # that was time enough for the others as well
                stuck.add(where)
                sent.append((batch, self._held(batch)))
            except kafka.KafkaError as error:
                stuck.add(where)
                sent.append((batch, error))

    async def _send(self, batch: Batch) -> asyncio.Future[Any]:
        assert self._producer is not None
        future: asyncio.Future[Any] = await self._producer.send_batch(
            batch.builder, batch.topic, partition=batch.partition
        )
        if self._pipeline is not None:
            self._pipeline.added(aiokafka.TopicPartition(batch.topic, batch.partition))
        return future

    def _fail(
        self, batch: Batch, error: BaseException, outcomes: list[Any], isolation: Isolation, is_whole: bool = True
    ) -> DeliveryError:
        """Set the error of a batch for its events, except for those that are sent again now.

        Gives the error for events that must not overtake them.
        """
        if isinstance(error, internals.BrokerError) and error.errno in codes.RECORD and is_whole:
            for position, text in isolation.refused(batch, error):
                about = f"Kafka at {self.address} refused it: {error}{f' (about this record: {text})' if text else ''}"
                if failures.clocks_differ(isolation.accepted_at(position), text):
                    _set(outcomes, position, DestinationRefused(f"{about}. Check the clocks of both"))
                else:
                    _set(outcomes, position, PoisonEvent(about))
            return self._held(batch)
        if is_whole and isolation.behind(batch):
            return self._held(batch)
        kind = failures.publishing(error, self.address, bool(self.topics))
        for position in batch.positions:
            _set(outcomes, position, kind)
        return kind

    def _held(self, batch: Batch) -> Stalled:
        """Give the outcome of a batch that was not given to aiokafka."""
        return Stalled(
            f"Kafka at {self.address}: events for partition {batch.partition} of topic {batch.topic!r} were not sent"
            " because records before them are not confirmed; they are sent later"
        )

    def _unsent(self, batch: Batch) -> Stalled:
        """Give the outcome of events that one topic has and another one does not: they are sent to all again."""
        return Stalled(
            f"Kafka at {self.address}: topic {batch.topic!r} has confirmed the event, but another topic of the profile"
            " did not get it; it is sent to all of them again"
        )

    def _stalled(self, batch: Batch) -> Stalled:
        """Give the outcome, for now, of a batch whose answer is awaited."""
        return Stalled(f"Kafka at {self.address}: {self._why(batch)}; its events wait")

    def _why(self, batch: Batch) -> str:
        """Say in the cluster's terms why a batch is not confirmed."""
        assert self._producer is not None
        where = (batch.topic, batch.partition)
        needed = self._planner.rules.of(batch.topic).min_replicas
        return leaders.trouble(self._producer.client.cluster, where, self._reasons.get(where), needed)

    def _give_up(self, batch: Batch, future: asyncio.Future[Any]) -> UnknownOutcome:
        """Give the outcome of a batch without an answer; its producer is silenced, because a new one sends it again."""
        if not self._given_up:
            self._given_up = True
            closing.silence(self._producer)
        future.cancel()
        return UnknownOutcome(
            f"Kafka at {self.address}: no answer for partition {batch.partition} of topic {batch.topic!r}"
            f" within {self._patience:g} s ({self._why(batch)}); the event is sent again"
        )

    async def _look_up(self, topics: set[str]) -> dict[str, Sequence[int] | Exception]:
        """Give the partitions of every topic, or the error; all topics are looked up at once."""
        assert self._producer is not None
        answers = await asyncio.gather(*map(self._partitions, topics))
        there = [topic for topic, answer in zip(topics, answers, strict=True) if not isinstance(answer, Exception)]
        await self._planner.rules.ask(self._producer.client, there)
        return dict(zip(topics, answers, strict=True))

    async def _partitions(self, topic: str) -> Sequence[int] | Exception:
        assert self._producer is not None
        if wrong := wrong_name(topic):
            return PoisonEvent(wrong)
        if self._missing.get(topic, 0.0) < monotonic():
            try:
                async with asyncio.timeout(TOPIC_WAIT):
                    partitions = await self._producer.partitions_for(topic)
                self._missing.pop(topic, None)
                if len(self._seen) < MAX_SEEN:
                    self._seen.add(topic)
                wanted = self._planner.partition
                if wanted is not None and wanted not in partitions:
                    return DestinationRefused(f"topic {topic!r} has no partition {wanted}; it has {partitions}")
                return sorted(partitions)
            except (TimeoutError, kafka.UnknownTopicOrPartitionError):
                if not self._producer.client.cluster.brokers():
                    return TransientError(f"Kafka at {self.address} does not answer with its topics")
                if topic in self._seen:
                    self._seen.discard(topic)
                    return Stalled(
                        f"Kafka at {self.address} does not list topic {topic!r} any more: a broker that has just"
                        " started may not know it yet"
                    )
                self._missing[topic] = monotonic() + MISSING_FOR
            except kafka.KafkaError as error:
                return failures.publishing(error, self.address, bool(self.topics))
        text = (
            f"topic {topic!r} does not exist at Kafka {self.address} and is not created automatically:"
            f" kafka-topics.sh --create --topic {topic}"
        )
        return DestinationRefused(text) if self.topics else PoisonEvent(text)

    async def ping(self, largest: int) -> list[str]:
        """Ask the cluster for its metadata, check the profile's topics, and return advice about them.

        `largest` is the profile's max_event_bytes. Raises a DeliveryError.
        """
        assert self._producer is not None
        await self._producer.client.force_metadata_update()
        for answer in (await self._look_up(set(self.topics))).values():
            if isinstance(answer, Exception):
                raise answer
        if internals.compresses(self._producer):
            largest = 0  # nobody knows the size of an event on the wire
        return [text for topic in self.topics for text in self._advice(topic, largest)]

    def _advice(self, topic: str, largest: int) -> Iterator[str]:
        rules = self._planner.rules.of(topic)
        copies = internals.replicas_of(self._producer, topic)
        if self._keywords["acks"] in ("all", -1) and copies and copies < rules.min_replicas:
            raise DestinationRefused(
                f"topic {topic!r} has min.insync.replicas={rules.min_replicas} and {copies} replicas, so Kafka at"
                f" {self.address} never confirms an event: add replicas, or set min.insync.replicas to {copies} or less"
            )
        if rules.max_bytes is not None and largest > rules.max_bytes:
            yield (
                f"topic {topic!r} takes {rules.max_bytes} bytes (max.message.bytes), and max_event_bytes of the profile"
                f" is {largest}: larger events are refused, or become dead letters. Make max_event_bytes less than"
                f" {rules.max_bytes}, or the topic's limit larger"
            )
        if rules.needs_key and self._planner.key is None:
            yield (
                f"topic {topic!r} is compacted and keeps the latest event of each key: an event without put(key=...)"
                " has its routing key as the key, and replaces the earlier ones of that routing key"
            )
        elif rules.needs_key:
            yield f"topic {topic!r} is compacted, and the profile's key is that of all events: only the latest is kept"

    async def close(self) -> None:
        """Stop the producer, in bounded time."""
        producer, self._producer = self._producer, None
        given_up, self._given_up = self._given_up, False
        if self._asking is not None:
            self._asking.cancel()
            self._asking = None
        if producer is not None:
            await closing.close(producer, flush=not given_up)
        self._in_flight.abandon()


async def _answers(waiting: list[asyncio.Future[Any]], deadline: float, earlier: Set[asyncio.Future[Any]]) -> None:
    """Wait until all have come, or none has for a while, or the deadline, or one of `earlier` has come.

    Those are of earlier publishes. The next publish takes that one up; its events have waited long enough.
    """
    now, left, patience = asyncio.get_running_loop().time, set(waiting), STALL
    while left and not any(future.done() for future in earlier):
        came, pending = await asyncio.wait(
            left | earlier, timeout=max(0.0, min(patience, deadline - now())), return_when=asyncio.FIRST_COMPLETED
        )
        if not came:
            return
        left = pending - earlier
        patience = STALL_BESIDE


def _record_offsets(batch: Batch, record: Any, outcomes: list[Any]) -> None:
    """Record topic, partition and offset of a batch's events; of several topics, the first."""
    for index, position in enumerate(batch.positions):
        if outcomes[position] is None:
            outcomes[position] = {
                "topic": batch.topic,
                "partition": batch.partition,
                "offset": record.offset + index,
            }


def _failed(future: asyncio.Future[Any]) -> bool:
    return future.done() and (future.cancelled() or future.exception() is not None)


def _set(outcomes: list[Any], position: int, error: Exception) -> None:
    """Set an outcome; of several topics, the first error stays."""
    if not isinstance(outcomes[position], Exception):
        outcomes[position] = error


def _poisons_producer(outcome: Any) -> bool:
    """Whether the producer must be replaced after this outcome."""
    return isinstance(outcome, (TransientError, UnknownOutcome, BatchRejected)) and not isinstance(outcome, Stalled)

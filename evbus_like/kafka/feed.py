"""A feed: the records that one handler reads, through a consumer of its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from time import monotonic
from typing import Any

import aiokafka
from aiokafka import errors as kafka

from evbus_like.engine import dead_letter_headers
from evbus_like.engine.errors import DestinationRefused, TransientError
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.receiving.subscription import Subscription
from evbus_like.kafka import brokers, closing, failures, internals
from evbus_like.kafka.assignment import Assignment, StandaloneAssignment
from evbus_like.kafka.dead_letters import DeadLetters, topic_name
from evbus_like.kafka.group import GroupMembership
from evbus_like.kafka.offsets import Offsets, Partition
from evbus_like.kafka.records import Reader
from evbus_like.kafka.settings import QueueState, Settings
from evbus_like.kafka.unreadable import unpack

log = logging.getLogger("evbus_like.handlers")

POLL = 0.2  # seconds that one poll takes at most; a requeued event waits as long
POLL_DEADLINE = 2.0  # seconds; aiokafka's poll never returns during a rebalance
REFRESH = 5.0  # seconds between two refreshes of the metadata
REFRESH_MISSING = 1.0  # the same while a topic is missing; grows by half each time
REFRESH_DEADLINE = 10.0  # seconds that a refresh may take
MAX_AHEAD = 10_000  # offsets read beyond the oldest unsettled one; a crash repeats no more
MAX_WITHOUT_OFFSET = 200  # consecutive polls that find a partition without an offset


class Feed:
    """Reads the topics of one subscription; `everything` also gives records that are for another one."""

    def __init__(self, settings: Settings, subscription: Subscription, everything: bool = False) -> None:
        self.settings = settings
        self.subscription = subscription
        self.topics = settings.topics or (subscription.exchange,)
        self.state = settings.states.setdefault(subscription.queue, QueueState())
        self.offsets = Offsets()
        self.closing = False
        self._error: Exception | None = None
        self._requeued: list[ReceivedEvent] = []
        self._paused: set[Any] = set()
        self._without_offset = 0
        self._reader = Reader(subscription, everything)
        self._dead_letters = DeadLetters(settings.connection, settings.address)
        self._watcher: asyncio.Task[None] | None = None
        group = None if subscription.exclusive else subscription.queue
        self.kafka = aiokafka.AIOKafkaConsumer(**settings.consumer(group, static=subscription.reliable))
        self.client = internals.client_of(self.kafka)
        brokers.follow(self.client)
        self._assignment: Assignment = GroupMembership(self) if group else StandaloneAssignment(self)

    async def open(self) -> None:
        """Connect; returns when every partition has an offset to begin at. Raises DeliveryError."""
        try:
            try:
                await self.kafka.start()
                internals.check_consumer(self.kafka)
                internals.replace_unpacking(self.kafka, partial(unpack, failed_at={}))
            except DestinationRefused:
                raise
            except Exception as error:
                raise await failures.connecting(error, self.settings.address, self.client) from error
            await self._refresh(set_topics=True)
            await self._assignment.begin()
        except kafka.KafkaError as error:
            await self.close()
            raise failures.receiving(error, self.settings.address) from error
        except BaseException:
            await self.close()
            raise
        self.state.opened = True
        self._watcher = asyncio.create_task(self._watch(), name=f"evbus_like watch {self.settings.address}")

    def places(self) -> list[Any]:
        """Give the partitions of the topics that exist."""
        numbers = ((topic, self.client.cluster.partitions_for_topic(topic) or ()) for topic in self.topics)
        return [aiokafka.TopicPartition(topic, number) for topic, all_of in numbers for number in sorted(all_of)]

    @property
    def lag(self) -> int | None:
        """How many offsets are not settled yet, by what the brokers said last; None before they have said anything."""
        known = internals.read_and_ends(self.kafka)
        settled = {place: partition.position for place, partition in self.offsets}
        behind = [end - (read if (at := settled.get(place)) is None else at) for place, read, end in known]
        return sum(max(0, each) for each in behind) if known else None

    async def _refresh(self, set_topics: bool = False) -> bool:
        """Refresh the metadata of the topics; gives whether a broker answered. Raises DestinationRefused."""
        answered = False
        try:
            async with asyncio.timeout(REFRESH_DEADLINE):
                if set_topics:
                    await self.client.set_topics(self.topics)
                answered = bool(await self.client.force_metadata_update())
        except TimeoutError:
            pass
        if refused := self.client.cluster.unauthorized_topics.intersection(self.topics):
            raise DestinationRefused(
                f"Kafka at {self.settings.address} does not let this user read {', '.join(sorted(refused))}:"
                " grant the user Read and Describe on the topic, or change the profile"
            )
        missing = {topic for topic in self.topics if self.client.cluster.partitions_for_topic(topic) is None}
        if answered:
            self.state.late_topics |= missing
            self._report(missing)
        return answered

    def _report(self, missing: set[str]) -> None:
        """Log missing topics, once for all handlers of the profile."""
        reported = self.settings.reported_missing
        if new := missing - reported:
            log.warning(
                "the topic %s does not exist at Kafka %s; once it does, its events are handled from its beginning",
                ", ".join(sorted(new)),
                self.settings.address,
            )
        reported.difference_update(self.topics)
        reported.update(missing)

    async def _watch(self) -> None:
        """Refresh the metadata: finds new topics and partitions, and a cluster that does not answer."""
        answered_at, pause = monotonic(), REFRESH_MISSING
        try:
            while True:
                missing = any(self.client.cluster.partitions_for_topic(topic) is None for topic in self.topics)
                await asyncio.sleep(min(pause, REFRESH) if missing else REFRESH)
                pause = pause * 1.5 if missing else REFRESH_MISSING
                if await self._refresh() and self._assignment.reachable():
                    answered_at = monotonic()
                    await self._assignment.refresh()
                elif monotonic() - answered_at > self.settings.timeout:
                    raise TransientError(f"Kafka at {self.settings.address} does not answer")
        except Exception as error:
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """Mark the feed as lost; the engine subscribes again."""
        if self._error is None:
            self._error = failures.receiving(error, self.settings.address)

    def check(self) -> None:
        """Raise the error that the feed was lost by, if it was."""
        self._assignment.check()
        if self._error is not None:
            raise self._error

    async def receive(self) -> list[ReceivedEvent]:
        """Wait for the next events; a cancelled call loses none: aiokafka advances only when it returns records."""
        while True:
            try:
                self.check()
                if self._requeued:
                    requeued, self._requeued = self._requeued, []
                    return requeued
                self._resume()
                async with asyncio.timeout(POLL_DEADLINE):
                    found = await self.kafka.getmany(
                        timeout_ms=int(POLL * 1000), max_records=self.subscription.prefetch
                    )
            except TimeoutError:
                continue
            except kafka.NoOffsetForPartitionError as error:
                await self._wait_for_offset(error)
                continue
            except kafka.OffsetOutOfRangeError as error:
                await self._restart(error.args[0])
                continue
            except kafka.KafkaError as error:
                raise failures.receiving(error, self.settings.address) from error
            if found:
                self._without_offset = 0
                if events := self._events(found):
                    return events
                await asyncio.sleep(0)  # records that no handler wants come without a pause

    def _events(self, found: dict[Any, Sequence[Any]]) -> list[ReceivedEvent]:
        events = []
        make = self._reader.event
        for place, records in found.items():
            partition = self.offsets.of(place)
            for record in records:
                event = make(record, partition)
                if event is None:
                    partition.skip(record.offset)
                else:
                    partition.take(record.offset, event)
                    event.may_repeat = record.offset - partition.begun < MAX_AHEAD
                    events.append(event)
            if partition.ahead > MAX_AHEAD:
                self.kafka.pause(place)
                self._paused.add(place)
        return events

    def _resume(self) -> None:
        """Resume partitions whose oldest records are settled now."""
        for place in [place for place in self._paused if self.offsets.of(place).ahead <= MAX_AHEAD / 2]:
            self._paused.discard(place)
            if place in self.kafka.assignment():
                self.kafka.resume(place)

    def clear_pauses(self) -> None:
        """Note that aiokafka has forgotten which partitions are paused."""
        self._paused.clear()

    async def _wait_for_offset(self, error: Exception) -> None:
        """Wait for the group's first commit, which is under way."""
        self._without_offset += 1
        if self._without_offset > MAX_WITHOUT_OFFSET:
            raise failures.receiving(error, self.settings.address) from error
        await asyncio.sleep(0.05)

    async def _restart(self, lost: dict[Any, int]) -> None:
        """Continue at the oldest record: earlier ones were deleted, or the topic was recreated."""
        begins = await self._ask(self.kafka.beginning_offsets(list(lost)))
        for place, offset in lost.items():
            log.warning(
                "%s of topic %s, partition %s, does not exist any more (retention?); reading continues at offset %s",
                *(f"offset {offset}", place.topic, place.partition, begins[place]),
            )
            self.forget([place])
            if place in self.kafka.assignment():
                self.kafka.seek(place, begins[place])

    async def _ask(self, question: Any) -> Any:
        try:
            async with asyncio.timeout(self.settings.timeout):
                return await question
        except (kafka.KafkaError, TimeoutError) as error:
            raise failures.receiving(error, self.settings.address) from error

    def revoke(self, places: Sequence[Any]) -> list[Partition]:
        """Let no handler begin with events of these partitions; gives the partitions."""
        partitions = [partition for place, partition in self.offsets if place in places]
        for partition in partitions:
            for event in partition.open.values():
                event.revoked = not event.busy
        self._requeued = [event for event in self._requeued if not event.revoked]
        return partitions

    def forget(self, places: Sequence[Any]) -> None:
        """Drop partitions and everything of them that is not settled."""
        for partition in self.revoke(places):
            for event in partition.open.values():
                event.revoked = True
            partition.open.clear()
        for place in places:
            self.offsets.drop(place)
            self._paused.discard(place)

    def ack(self, events: Sequence[ReceivedEvent]) -> None:
        """Settle events; their offsets are committed soon."""
        for event in events:
            partition, record = event.token
            partition.settle(record.offset)

    def requeue(self, event: ReceivedEvent) -> None:
        """Give an event again with the next call of `receive`."""
        partition, record = event.token
        if event.revoked or record.offset not in partition.open:
            return
        again = self._reader.event(record, partition)
        assert again is not None
        again.redelivered, again.attempt = True, event.attempt + 1
        partition.open[record.offset] = again
        self._requeued.append(again)

    async def dead(self, event: ReceivedEvent, reason: str) -> None:
        """Write an event's record to the dead letters and then settle it; raises DeliveryError."""
        partition, record = event.token
        if event.revoked or record.offset not in partition.open:
            return
        queue = self.subscription.queue
        await self._dead_letters.put(
            topic_name(self.subscription.dead), record, dead_letter_headers.unhandled(event, queue, reason)
        )
        partition.settle(record.offset)

    async def close(self) -> None:
        """Commit settled offsets and leave the group, in bounded time."""
        self.closing = True
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait([self._watcher], timeout=REFRESH_DEADLINE)
        try:
            await self._assignment.end()
        finally:
            await closing.leave(self.kafka)
            await self._dead_letters.close()

"""A feed: the records that one handler reads, over a consumer of its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from time import monotonic
from typing import Any

import aiokafka
from aiokafka import errors as kafka

from evbus_like.engine.errors import DestinationRefused, TransientError
from evbus_like.engine.receiving.received import ReceivedEvent, dead_letter_headers
from evbus_like.engine.receiving.subscription import Subscription
from evbus_like.kafka import closing, failures, leaders
from evbus_like.kafka.alone import Alone
from evbus_like.kafka.dead import DeadLetters, topic_name
from evbus_like.kafka.member import Member
from evbus_like.kafka.offsets import Offsets, Partition
from evbus_like.kafka.records import Reader
from evbus_like.kafka.settings import Memory, Settings

log = logging.getLogger("evbus_like.handlers")

POLL = 0.2  # seconds that one look for records takes, at most; so long a requeued event waits
STUCK = 2.0  # seconds; aiokafka waits without an end while partitions are being given out
LOOK = 5.0  # seconds between two looks at the cluster
LOOK_FOR_TOPIC = 1.0  # the same when a topic is missing; half as long again each time
ANSWER = 10.0  # seconds that such a look may take
MOST_AHEAD = 10_000  # records read beyond the oldest that is not settled; a crash repeats no more
UNPLACED = 200  # looks for records in a row that find a partition without an offset


class Feed:
    """Reads a subscription's topics."""

    def __init__(self, settings: Settings, subscription: Subscription) -> None:
        self.settings = settings
        self.subscription = subscription
        self.topics = settings.topics or (subscription.exchange,)
        self.memory = settings.memories.setdefault(subscription.queue, Memory())
        self.offsets = Offsets()
        self.closing = False
        self._trouble: Exception | None = None
        self._again: list[ReceivedEvent] = []
        self._paused: set[Any] = set()
        self._unplaced = 0
        self._reader = Reader(subscription)
        self._letters = DeadLetters(settings.connection, settings.place)
        self._watcher: asyncio.Task[None] | None = None
        group = None if subscription.exclusive else subscription.queue
        self.kafka = aiokafka.AIOKafkaConsumer(**settings.consumer(group))
        self.client = self.kafka._client
        leaders.pace(self.client)
        self._seat = Alone(self) if group is None else Member(self)

    async def open(self) -> None:
        """Connect, and return when it is settled where each partition is read from; raises DeliveryError."""
        try:
            try:
                await self.kafka.start()
            except Exception as error:
                raise await failures.connecting(error, self.settings.place, self.client) from error
            await self._look(set_topics=True)
            await self._seat.begin()
        except kafka.KafkaError as error:
            await self.close()
            raise failures.receiving(error, self.settings.place) from error
        except BaseException:
            await self.close()
            raise
        self.memory.begun = True
        self._watcher = asyncio.create_task(self._watch(), name=f"evbus_like watch {self.settings.place}")

    def places(self) -> list[Any]:
        """Give the partitions of the topics, as far as they exist."""
        numbers = ((topic, self.client.cluster.partitions_for_topic(topic) or ()) for topic in self.topics)
        return [aiokafka.TopicPartition(topic, number) for topic, all_of in numbers for number in sorted(all_of)]

    async def _look(self, set_topics: bool = False) -> bool:
        """Ask for the topics' partitions; whether somebody answered. Raises DestinationRefused."""
        answered = False
        try:
            async with asyncio.timeout(ANSWER):
                if set_topics:
                    await self.client.set_topics(self.topics)
                answered = bool(await self.client.force_metadata_update())
        except TimeoutError:
            pass
        if refused := self.client.cluster.unauthorized_topics.intersection(self.topics):
            raise DestinationRefused(
                f"Kafka at {self.settings.place} lets nobody read {', '.join(sorted(refused))} with these credentials:"
                " grant the user Read and Describe on the topic, or change the profile"
            )
        missing = {topic for topic in self.topics if self.client.cluster.partitions_for_topic(topic) is None}
        if answered:
            self.memory.awaited |= missing
            self._tell_of(missing)
        return answered

    def _tell_of(self, missing: set[str]) -> None:
        """Log what is missing, once for all handlers of the profile."""
        told = self.settings.told
        if new := missing - told:
            log.warning(
                "the topic %s does not exist at Kafka %s; its events are handled from its beginning as soon as it does",
                ", ".join(sorted(new)),
                self.settings.place,
            )
        told.difference_update(self.topics)
        told.update(missing)

    async def _watch(self) -> None:
        """Look for topics and partitions that are new, and at whether anybody is there."""
        latest, pause = monotonic(), LOOK_FOR_TOPIC
        try:
            while True:
                missing = any(self.client.cluster.partitions_for_topic(topic) is None for topic in self.topics)
                await asyncio.sleep(min(pause, LOOK) if missing else LOOK)
                pause = pause * 1.5 if missing else LOOK_FOR_TOPIC
                if await self._look() and self._seat.reachable():
                    latest = monotonic()
                    await self._seat.look()
                elif monotonic() - latest > self.settings.timeout:
                    raise TransientError(f"Kafka at {self.settings.place} does not answer")
        except Exception as error:
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """Let the feed be lost; the engine makes another."""
        if self._trouble is None:
            self._trouble = failures.receiving(error, self.settings.place)

    def check(self) -> None:
        """Raise what the feed was lost by."""
        self._seat.check()
        if self._trouble is not None:
            raise self._trouble

    async def receive(self) -> list[ReceivedEvent]:
        """Wait for the next events. A cancelled call loses none: aiokafka moves on only when it gives records."""
        while True:
            try:
                self.check()
                if self._again:
                    again, self._again = self._again, []
                    return again
                self._resume()
                async with asyncio.timeout(STUCK):
                    found = await self.kafka.getmany(
                        timeout_ms=int(POLL * 1000), max_records=self.subscription.prefetch
                    )
            except TimeoutError:
                continue
            except kafka.NoOffsetForPartitionError as error:
                await self._wait_for_offset(error)
                continue
            except kafka.OffsetOutOfRangeError as error:
                await self._begin_anew(error.args[0])
                continue
            except kafka.KafkaError as error:
                raise failures.receiving(error, self.settings.place) from error
            if found:
                self._unplaced = 0
                if events := self._events(found):
                    return events
                await asyncio.sleep(0)  # records that nobody wants come without a pause

    def _events(self, found: dict[Any, Sequence[Any]]) -> list[ReceivedEvent]:
        events = []
        make = self._reader.event
        for place, records in found.items():
            partition = self.offsets.of(place)
            for record in records:
                event = make(record, partition)
                if event is None:
                    partition.passed(record.offset)
                else:
                    partition.take(record.offset, event)
                    events.append(event)
            if partition.ahead > MOST_AHEAD:
                self.kafka.pause(place)
                self._paused.add(place)
        return events

    def _resume(self) -> None:
        """Read on where the oldest record is settled that the reading was far ahead of."""
        for place in [place for place in self._paused if self.offsets.of(place).ahead <= MOST_AHEAD / 2]:
            self._paused.discard(place)
            if place in self.kafka.assignment():
                self.kafka.resume(place)

    def unpaused(self) -> None:
        """Note that aiokafka has forgotten which partitions are paused."""
        self._paused.clear()

    async def _wait_for_offset(self, error: Exception) -> None:
        """Wait for the group's first commit, which is under way; it does not take long."""
        self._unplaced += 1
        if self._unplaced > UNPLACED:
            raise failures.receiving(error, self.settings.place) from error
        await asyncio.sleep(0.05)

    async def _begin_anew(self, lost: dict[Any, int]) -> None:
        """Begin at the oldest record: those before it are gone, or the topic was made anew."""
        begins = await self._asked(self.kafka.beginning_offsets(list(lost)))
        for place, offset in lost.items():
            log.warning(
                "%s of topic %s, partition %s, is not there any more (retention?); reading goes on at offset %s",
                *(f"offset {offset}", place.topic, place.partition, begins[place]),
            )
            self.forget([place])
            if place in self.kafka.assignment():
                self.kafka.seek(place, begins[place])

    async def _asked(self, question: Any) -> Any:
        try:
            async with asyncio.timeout(self.settings.timeout):
                return await question
        except (kafka.KafkaError, TimeoutError) as error:
            raise failures.receiving(error, self.settings.place) from error

    def take_back(self, places: Sequence[Any]) -> list[Partition]:
        """Let no handler begin with events of these partitions any more; gives what was read of them."""
        partitions = [partition for place, partition in self.offsets if place in places]
        for partition in partitions:
            for event in partition.open.values():
                event.revoked = not event.busy
        self._again = [event for event in self._again if not event.revoked]
        return partitions

    def forget(self, places: Sequence[Any]) -> None:
        """Let partitions go, with all that is not settled of them."""
        for partition in self.take_back(places):
            for event in partition.open.values():
                event.revoked = True
            partition.open.clear()
        for place in places:
            self.offsets.drop(place)
            self._paused.discard(place)

    def ack(self, events: Sequence[ReceivedEvent]) -> None:
        """Note what is dealt with; it is committed soon."""
        for event in events:
            partition, record = event.token
            partition.settle(record.offset)

    def requeue(self, event: ReceivedEvent) -> None:
        """Give an event again, next."""
        partition, record = event.token
        if event.revoked or record.offset not in partition.open:
            return
        again = self._reader.event(record, partition)
        assert again is not None
        again.redelivered, again.attempt = True, event.attempt + 1
        partition.open[record.offset] = again
        self._again.append(again)

    async def dead(self, event: ReceivedEvent, reason: str) -> None:
        """Put an event's record to the dead letters, and settle it when it is safe there; raises DeliveryError."""
        partition, record = event.token
        if event.revoked or record.offset not in partition.open:
            return
        queue = self.subscription.queue
        await self._letters.put(topic_name(self.subscription.dead), record, dead_letter_headers(event, queue, reason))
        partition.settle(record.offset)

    async def close(self) -> None:
        """Commit what is settled, and leave; in bounded time."""
        self.closing = True
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait([self._watcher], timeout=ANSWER)
        try:
            await self._seat.end()
        finally:
            await closing.leave(self.kafka)
            await self._letters.close()

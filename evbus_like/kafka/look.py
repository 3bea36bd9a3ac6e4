"""A look at the dead letters of a topic, from its first record to the last one that was there when the look began.

Kafka cannot delete single records. Which letters were replayed or removed is noted in the topic itself, in records
whose header `evbus-dead-settled` says so: as JSON, the offsets by partition. They leave the topic after the letters.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Any

import aiokafka

from evbus_like.engine.errors import DeliveryError, TransientError
from evbus_like.engine.receiving import look
from evbus_like.engine.receiving.look import FoundLetter
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.receiving.subscription import BROADCAST, Subscription
from evbus_like.kafka import inspection
from evbus_like.kafka.dead_letters import ADDED, DeadLetters, Headers, topic_name
from evbus_like.kafka.feed import Feed
from evbus_like.kafka.marks import Marks
from evbus_like.kafka.records import ONLY, text
from evbus_like.kafka.settings import Settings
from evbus_like.kafka.unreadable import UnreadableRecord

SETTLED = "evbus-dead-settled"
PAGE = 100
STALL = 15.0  # seconds without a record
Place = tuple[int, int]  # partition and offset


class DeadLetterLook:
    """Reads the topic of dead letters without a group, and produces replayed events and notes."""

    def __init__(self, settings: Settings, subscription: Subscription, topic: str) -> None:
        self.expected = 0
        self.unseen = ""
        self._settings = settings
        self._subscription = subscription
        self._topic = topic
        self._producer = DeadLetters(settings.connection, settings.address)
        self._settled = Marks({})
        self._ends: dict[Any, int] = {}
        reading = replace(settings, topics=(topic,), states={}, reported_missing=set(), instance=None)
        asked = replace(subscription, event_types=("#",), delivery=BROADCAST, reliable=False, since=None, prefetch=PAGE)
        self._feed = Feed(reading, asked, everything=True)

    async def open(self) -> None:
        """Connect, and find out which letters are left; raises a DeliveryError."""
        await self._feed.open()
        self._ends = dict(await self._feed.kafka.end_offsets(self._feed.places()))
        begins = await self._feed.kafka.beginning_offsets(list(self._ends))
        ranges = {place.partition: (begins[place], end) for place, end in self._ends.items()}
        letters, self._settled = Marks(ranges), Marks(ranges)
        async for events in self._read():
            for event in events:
                record = _record(event)
                if (noted := _noted(record)) is None:
                    letters.add(record.partition, record.offset)
                else:
                    for each in noted:
                        self._settled.add(*each)
        self.expected = letters.without(self._settled)

    async def _read(self) -> AsyncGenerator[list[ReceivedEvent], None]:
        """Yield all records up to the ends, from the beginning."""
        reader = self._feed.kafka
        begins = await reader.beginning_offsets(list(self._ends))
        for place in self._ends:
            reader.seek(place, begins[place])
        while [place for place, end in self._ends.items() if await reader.position(place) < end]:
            try:
                async with asyncio.timeout(STALL):
                    events = await self._feed.receive()
            except TimeoutError:
                raise TransientError(
                    f"Kafka at {self._settings.address} gives no more records of the topic {self._topic!r}"
                ) from None
            self._feed.ack(events)
            yield [event for event in events if _record(event).offset < self._ends[_place(event)]]

    async def pages(self) -> AsyncGenerator[Sequence[FoundLetter], None]:
        """Yield the letters that were neither replayed nor removed, those of a partition in their order."""
        async for events in self._read():
            letters = [self._letter(event) for event in events if self._is_left(_record(event))]
            for at in range(0, len(letters), PAGE):
                yield letters[at : at + PAGE]

    def _is_left(self, record: Any) -> bool:
        return _noted(record) is None and (record.partition, record.offset) not in self._settled

    def _letter(self, event: ReceivedEvent) -> FoundLetter:
        record = _record(event)
        own, added = _split(record)
        event.headers, given = {**event.headers, **{name: text(value) for name, value in added.items()}}, event.headers
        died = record.timestamp / 1000 if record.timestamp > 0 else None
        letter = look.found(event, self._subscription, record, died)
        letter.headers = {name: value for name, value in given.items() if name not in added and name != ONLY}
        letter.headers |= {name: text(value) for name, value in own if name in added}
        put = added.get("evbus-dead-timestamp")
        letter.put = int(put) / 1000 if put is not None and put.isdigit() and len(put) < 16 else None
        letter.name = event.id or f"{record.partition}:{record.offset}"
        return letter

    async def replay(self, letters: Sequence[FoundLetter], to: str) -> Sequence[str]:
        """Produce events to the topic that they came from, for one handler alone; then note that they were replayed."""
        queue = to or self._subscription.queue
        problems = await asyncio.gather(*(self._replayed(letter, queue) for letter in letters))
        return await self._note(letters, problems, "it was replayed")

    async def remove(self, letters: Sequence[FoundLetter]) -> Sequence[str]:
        """Note that letters are removed; their bytes stay until the topic's retention deletes them."""
        return await self._note(letters, [""] * len(letters), "nothing was done")

    async def _replayed(self, letter: FoundLetter, queue: str) -> str:
        record = letter.token
        own, added = _split(record)
        topic = (added.get("evbus-dead-topic") or b"").decode(errors="replace")
        if problem := self._problem(letter, topic, queue):
            return problem
        headers = [(name, value) for name, value in own if name != ONLY]
        stamp = None if letter.put is None else round(letter.put * 1000)
        partition = added.get("evbus-dead-partition") or b""
        number = int(partition) if partition.isdigit() and len(partition) < 9 else None
        try:
            await self._producer.send(
                topic, record.value, record.key, [*headers, (ONLY, queue.encode())], number, stamp
            )
        except DeliveryError as error:
            return str(error)
        return ""

    def _problem(self, letter: FoundLetter, topic: str, queue: str) -> str:
        """Return why a letter cannot be replayed, or an empty string."""
        topics = self._settings.topics or (self._subscription.exchange,)
        if letter.cut:
            return f"it is not whole ({letter.cut}), so its handler would not see what it saw"
        if isinstance(letter.token, UnreadableRecord) or letter.reason.startswith("the record at topic "):
            return "it was a record that cannot be read"
        if topic not in topics:
            return f"it came from the topic {topic!r}, which its handler does not read"
        if not self._settings.topics and not queue.startswith(f"evt-{self._subscription.source}-"):
            return f"the handler of the group {queue!r} does not read the topic {topic!r}"
        return ""

    async def _note(self, letters: Sequence[FoundLetter], problems: Sequence[str], done: str) -> Sequence[str]:
        """Note the letters without a problem as settled; a note that fails is the problem of them all."""
        places: dict[str, list[int]] = {}
        for letter, problem in zip(letters, problems, strict=True):
            if not problem:
                places.setdefault(str(letter.token.partition), []).append(letter.token.offset)
        if not places:
            return problems
        key = f"{SETTLED}-{uuid.uuid4().hex}".encode()
        try:
            await self._producer.send(self._topic, json.dumps(places).encode(), key, [(SETTLED, b"1")])
        except DeliveryError as error:
            return [
                problem or f"{done}, and that could not be noted, so it is listed again: {error}"
                for problem in problems
            ]
        return problems

    async def close(self) -> None:
        """Disconnect."""
        try:
            await self._feed.close()
        finally:
            await self._producer.close()


def _record(event: ReceivedEvent) -> Any:
    return event.token[1]


def _place(event: ReceivedEvent) -> Any:
    record = _record(event)
    return aiokafka.TopicPartition(record.topic, record.partition)


def _noted(record: Any) -> set[Place] | None:
    """Return the letters that a note names as settled; None for a record that is no note."""
    if not any(name == SETTLED for name, _ in record.headers):
        return None
    try:
        found = json.loads(record.value or b"")
        return {(int(name), offset) for name, offsets in found.items() for offset in offsets if type(offset) is int}
    except (ValueError, TypeError, AttributeError, RecursionError):
        return set()


def _split(record: Any) -> tuple[Headers, dict[str, bytes]]:
    """Return the headers of the record itself, and those that its dead letter has added at the end."""
    own: Headers = []
    added: dict[str, bytes] = {}
    for name, value in reversed(record.headers):
        if name in ADDED and name not in added:
            added[name] = value or b""
        else:
            own.append((name, value))
    return own[::-1], added


async def begin(settings: Settings, subscription: Subscription) -> DeadLetterLook | None:
    """Begin to look; returns None if there is no such topic, so that nothing was given up. Raises a DeliveryError."""
    topic = topic_name(subscription.dead)
    if topic not in await inspection.topics(settings):
        return None
    made = DeadLetterLook(settings, subscription, topic)
    try:
        await made.open()
    except BaseException:
        await made.close()
        raise
    return made

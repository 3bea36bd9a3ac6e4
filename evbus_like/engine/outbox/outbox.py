"""The outbox: durable events by destination, with dead letters, for any event loop."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from evbus_like.engine.errors import BadEvent, NotInOutbox, OutboxClosed, OutboxForked, OutboxLocked
from evbus_like.engine.event import Event
from evbus_like.engine.files import make_private, resolve
from evbus_like.engine.outbox.connection import connect, storage_error
from evbus_like.engine.outbox.dead_letters import (
    DeadFilter,
    DeadLetter,
    Reason,
    dead_letter,
    discard,
    insert_dead_letter,
    page,
    purge,
    read_dead_letter,
    read_dead_letters,
    replay,
    set_aside,
)
from evbus_like.engine.outbox.files import check_files
from evbus_like.engine.outbox.jobs import Job
from evbus_like.engine.outbox.lock import Lock, refuse_if_open_here
from evbus_like.engine.outbox.presence import Presence
from evbus_like.engine.outbox.record import OVERHEAD, pack
from evbus_like.engine.outbox.recovery import Recovered, recover
from evbus_like.engine.outbox.row import SIZE as ROW_SIZE
from evbus_like.engine.outbox.row import pack as pack_row
from evbus_like.engine.outbox.scheduled import (
    Form,
    ScheduledEvent,
    cancel,
    fire,
    first_due,
    read_due,
    read_scheduled,
    schedule,
)
from evbus_like.engine.outbox.store import PackedEvent, Store, size_of
from evbus_like.engine.outbox.usage import Counts, OutboxUsage
from evbus_like.engine.outbox.writer import Writer

T = TypeVar("T")
MAX_BYTES = 1024**3
EVERYTHING = DeadFilter()


class Outbox:
    """Events on disk, each until all its destinations have it; one process at a time has the file open.

    Every method except `open` and `close` may be called from any event loop. When an await returns, its change is on
    the disk. A cancelled append is either whole or absent: absent if the writer had not started it. After a
    StorageError nothing of the call was written.
    """

    def __init__(self, path: str | os.PathLike[str], max_bytes: int = MAX_BYTES) -> None:
        self.path = resolve(path)  # two paths to one file are one outbox
        self.usage = OutboxUsage(max_bytes, str(self.path))
        self._lock = Lock(self.path)
        self._writer: Writer | None = None
        self._closing = False

    # ---- life cycle

    def open(self) -> Recovered | None:
        """Open or create the file, and give what was recovered if it was damaged; it blocks.

        Raises OutboxLocked, NewerOutbox and StorageError, and then leaves the file unchanged.
        """
        if self._writer is not None:
            raise OutboxLocked(f"the outbox {self.path} is open already", os.getpid())
        try:
            make_private(self.path.parent)
            refuse_if_open_here(self.path)  # it must not even be read: see lock.py
            check_files(self.path)
            self._lock.take()
        except OSError as error:
            raise storage_error(str(self.path), error, "opened") from error
        try:
            store, recovered = self._open_store()
        except BaseException as error:
            self._lock.release()
            if isinstance(error, OSError | sqlite3.Error):
                raise storage_error(str(self.path), error, "opened") from error
            raise
        self._closing = False
        self._writer = Writer(store, self._release)
        self._writer.start()
        return recovered

    def _open_store(self) -> tuple[Store, Recovered | None]:
        recovered = recover(self.path, self._lock)
        self.usage = OutboxUsage(self.usage.max_bytes, str(self.path))
        presence = Presence(self.path, self._lock)
        store = Store(lambda: connect(self.path), str(self.path), self.usage, presence)
        try:
            self._lock.mark_open()
        except BaseException:
            store.close()
            raise
        return store, recovered

    def _release(self) -> None:
        self._lock.release(self.usage.pending.total() + self.usage.scheduled, self.usage.dead)

    async def flush(self) -> None:
        """Return when all that was appended and settled so far is committed."""
        await self._run(lambda store: None)

    async def close(self, timeout: float = 5.0) -> None:
        """Flush, close the file and release the lock; raises StorageError if the disk does not answer in time."""
        if self._lock.forked:
            return
        if self._writer is not None:
            self._closing = True
            self.usage.room.wake_all()
            writer = self._writer
            await writer.close(timeout)
            self._writer = None

    # ---- events

    async def append(self, items: Sequence[tuple[Event, Sequence[str]]]) -> list[int]:
        """Write serialized events with their destinations, all or none, and give their seqs, which grow in this order.

        Raises OutboxFull, EventTooLarge, BadEvent and StorageError; then none of the events is in the outbox.
        """
        return await self.submit_packed(self.pack(items))

    def pack(self, items: Sequence[tuple[Event, Sequence[str]]]) -> list[PackedEvent]:
        """Pack events for `submit_packed` and reserve their room, for all or for none.

        The caller must submit or release what it gets. Raises OutboxFull, EventTooLarge, BadEvent and OutboxClosed.
        """
        self._open_writer()
        packed = [_packed(event, destinations) for event, destinations in items]
        self.usage.reserve(size_of(packed))
        return packed

    def pack_one(self, event: Event, destinations: tuple[str, ...]) -> PackedEvent:
        """Do what `pack` does for one event whose destinations are known to be right."""
        if self._writer is None or self._closing or self._lock.forked:
            raise self._not_open()
        record = pack(event)
        self.usage.reserve(len(record) + OVERHEAD)
        return record, destinations

    def release(self, packed: Sequence[PackedEvent]) -> None:
        """Give back the room of packed events that are not written after all."""
        self.usage.free(size_of(packed))

    def submit_packed(self, packed: Sequence[PackedEvent]) -> asyncio.Future[list[int]]:
        """Start writing what `pack` made, all or none; the future gives the seqs."""
        return self._open_writer().submit(Job(asyncio.get_running_loop(), packed, size_of(packed)))

    def settle(self, destination: str, seqs: Sequence[int]) -> None:
        """Note that a destination has these events; they are removed soon, and sent again after a crash before that."""
        self._open_writer().settle(destination, seqs)

    async def page(
        self, destination: str, after_seq: int = 0, limit_events: int = 1000, limit_bytes: int = 4 * 1024 * 1024
    ) -> list[tuple[int, Event]]:
        """Give the oldest events that wait for a destination, after a seq: at least one, if there are any."""
        return await self._run(lambda store: page(store, destination, after_seq, limit_events, limit_bytes))

    # ---- how much

    def counts(self) -> Counts:
        """Give how much it holds, including what is being written; cheap, and callable from any thread."""
        return self.usage.counts()

    @property
    def full(self) -> bool:
        """Whether the last append found no room, or no event fits."""
        return self.usage.refusing or self.usage.bytes >= self.usage.max_bytes

    async def wait_for_room(self, needed: int) -> None:
        """Return when `needed` bytes fit, when something has left the outbox, or after `recheck_room`.

        Another caller may take the room first. Raises OutboxClosed when the outbox is closed.
        """
        self._open_writer()
        await self.usage.room.wait(lambda: not (self._closing or self.usage.fits(needed)))
        self._open_writer()

    def recheck_room(self) -> None:
        """Wake everyone who waits for room, because their lanes may no longer need it."""
        self.usage.room.wake_all()

    # ---- dead letters

    async def dead_letter(
        self, destination: str, seq: int, reason: str, kind: str, attempts: int, first_failed: float | None = None
    ) -> None:
        """Turn a pending event into a dead letter of a destination, even in a full outbox; raises NotInOutbox.

        Where other destinations still wait for the event, the file holds its body twice from then on.
        """
        why = Reason(reason, kind, attempts, first_failed)
        if not await self._run(lambda store: dead_letter(store, destination, seq, why)):
            raise NotInOutbox(f"no event {seq} waits for {destination} in the outbox {self.path}")

    async def dead_letter_event(
        self,
        destination: str,
        event: Event,
        reason: str,
        kind: str,
        attempts: int,
        first_failed: float | None = None,
    ) -> int:
        """Write a dead letter of an event that is not in the outbox and give its number; raises as `append` does."""
        why, row = Reason(reason, kind, attempts, first_failed), pack_row(event)
        self._open_writer()
        self.usage.reserve(row[ROW_SIZE])
        return await self._run(lambda store: insert_dead_letter(store, destination, row, why), row[ROW_SIZE])

    async def dead_letters(self, wanted: DeadFilter = EVERYTHING, limit: int = 100, after: int = 0) -> list[DeadLetter]:
        """List dead letters in the order of their numbers, beginning behind `after`, without bodies."""
        return await self._run(lambda store: read_dead_letters(store.connection, wanted, after, limit))

    async def read_dead_letter(self, number: int) -> DeadLetter:
        """Give one dead letter with its body; raises NotInOutbox."""
        letter = await self._run(lambda store: read_dead_letter(store.connection, number))
        if letter is None:
            raise NotInOutbox(f"there is no dead letter {number} in the outbox {self.path}")
        return letter

    async def replay(self, numbers: Iterable[int], destination: str | None = None) -> list[tuple[int, Event, str]]:
        """Make dead letters pending again, all or none, and give seq, event and destination of each.

        They go to their own destinations, or to the one given, and keep their ids. Unknown numbers are skipped.
        """
        wanted = list(numbers)
        return await self._run(lambda store: replay(store, wanted, destination))

    async def purge(self, wanted: Iterable[int] | DeadFilter) -> int:
        """Delete dead letters, by number or by filter, and give how many there were."""
        which = wanted if isinstance(wanted, DeadFilter) else list(wanted)
        return await self._run(lambda store: purge(store, which))

    # ---- what waits

    async def set_aside(self, destination: str, reason: str, most: int = 200) -> int:
        """Turn the oldest `most` events that wait for a destination into dead letters; give how many there were."""
        why = Reason(reason, "SetAside", 0, None)
        return await self._run(lambda store: set_aside(store, destination, why, most))

    async def discard(self, destination: str, most: int = 1000) -> int:
        """Delete the oldest `most` events that wait for a destination; give how many there were."""
        return await self._run(lambda store: discard(store, destination, most))

    # ---- scheduled events

    async def schedule(self, due: float, forms: Sequence[Form]) -> None:
        """Write an event, in a form for each serializer of its destinations, to be sent when it is due.

        Raises as `append` does.
        """
        packed = self.pack(forms)
        await self._run(lambda store: schedule(store, due, forms[0][0], packed), size_of(packed))

    async def cancel(self, event_id: str) -> bool:
        """Delete a scheduled event; False if there is none of this id, or not any more."""
        return await self._run(lambda store: cancel(store, event_id))

    async def first_due(self) -> float | None:
        """Give when the next scheduled event is due, in seconds since 1970."""
        return await self._run(lambda store: first_due(store.connection))

    async def read_due(self, now: float, limit: int) -> list[ScheduledEvent]:
        """Give scheduled events that are due, the earliest first."""
        return await self._run(lambda store: read_due(store, now, limit))

    async def fire(self, due: Sequence[tuple[ScheduledEvent, Sequence[Form]]]) -> list[tuple[int, Event, str]]:
        """Make scheduled events pending, in these forms, all or none; give seq, event and destination of each.

        What was cancelled meanwhile is left out.
        """
        return await self._run(lambda store: fire(store, due))

    async def scheduled(self, limit: int = 100) -> list[ScheduledEvent]:
        """List the scheduled events that are due next."""
        return await self._run(lambda store: read_scheduled(store.connection, limit))

    # ---- ids of handled events

    async def handled_ids(self, listener: str, most: int) -> list[str]:
        """Give a listener's newest ids, the oldest first; those beyond `most` are deleted."""
        return await self._run(lambda store: store.handled_ids(listener, most))

    async def add_handled_id(self, listener: str, event_id: str, evicted: Sequence[str] = ()) -> None:
        """Record the id of an event that a listener has handled, and delete evicted ones; ids count no bytes."""
        await self._run(lambda store: store.add_handled_id(listener, event_id, evicted))

    # ---- within

    async def _run(self, work: Callable[[Store], T], reserved: int = 0) -> T:
        result: T = await self._open_writer().submit(Job(asyncio.get_running_loop(), (), reserved, work=work))
        return result

    def _open_writer(self) -> Writer:
        if self._writer is None or self._closing or self._lock.forked:
            raise self._not_open()
        return self._writer

    def _not_open(self) -> Exception:
        if self._lock.forked:
            return OutboxForked(
                f"the outbox {self.path} belongs to the process that forked this one;"
                " open another, with a path of its own, in the child"
            )
        return OutboxClosed(f"the outbox {self.path} is not open")


def _packed(event: Event, destinations: Sequence[str]) -> PackedEvent:
    if not destinations:
        raise BadEvent(f"the event {event.id} has no destination, so it would never leave the outbox")
    if len(destinations) > 1 and len(set(destinations)) < len(destinations):
        raise BadEvent(f"the event {event.id} names a destination twice: {', '.join(destinations)}")
    return pack(event), tuple(destinations)

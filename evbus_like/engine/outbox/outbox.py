"""The outbox: durable events by destination, with dead letters, for any event loop."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from evbus_like.engine.errors import BadEvent
from evbus_like.engine.event import Event
from evbus_like.engine.outbox import dead, handled
from evbus_like.engine.outbox.connection import connect
from evbus_like.engine.outbox.dead import DeadFilter, DeadLetter, Why
from evbus_like.engine.outbox.errors import (
    NotInOutbox,
    OutboxClosed,
    OutboxForked,
    OutboxLocked,
    storage_error,
)
from evbus_like.engine.outbox.files import make_private
from evbus_like.engine.outbox.job import Job
from evbus_like.engine.outbox.lock import Lock
from evbus_like.engine.outbox.outgoing import page
from evbus_like.engine.outbox.record import pack, size
from evbus_like.engine.outbox.recovery import Recovered, recover
from evbus_like.engine.outbox.row import SIZE as ROW_SIZE
from evbus_like.engine.outbox.row import pack as pack_row
from evbus_like.engine.outbox.store import Parcel, Store, size_of
from evbus_like.engine.outbox.tally import Counts, OutboxUsage
from evbus_like.engine.outbox.writer import Writer

T = TypeVar("T")
MAX_BYTES = 1024**3
EVERYTHING = DeadFilter()


class Outbox:
    """Events on disk, each until all its destinations have it; one process at a time has the file.

    Every method but `open` and `close` may be called from any event loop. What is awaited is on the disk when it
    returns. Cancelling an await leaves the event in or out, never half: out if the writer has not come to it, and in
    otherwise, though the caller does not learn its seq. StorageError means that nothing of the call happened.
    """

    def __init__(self, path: str | os.PathLike[str], max_bytes: int = MAX_BYTES) -> None:
        self.path = Path(os.path.realpath(Path(path).expanduser()))  # two names of one file are one outbox
        self.tally = OutboxUsage(max_bytes, str(self.path))
        self._lock = Lock(self.path)
        self._writer: Writer | None = None
        self._closing = False

    # ---- life cycle

    def open(self) -> Recovered | None:
        """Take the file, making it if need be, and say what was recovered if it was damaged; it blocks.

        Raises OutboxLocked, NewerOutbox and StorageError, and leaves the file alone then.
        """
        if self._writer is not None:
            raise OutboxLocked(f"the outbox {self.path} is open already", os.getpid())
        try:
            make_private(self.path.parent)
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
        self._writer = Writer(store, self._lock.release)
        self._writer.start()
        return recovered

    def _open_store(self) -> tuple[Store, Recovered | None]:
        recovered = recover(self.path)
        self.tally = OutboxUsage(self.tally.max_bytes, str(self.path))
        return Store(lambda: connect(self.path), str(self.path), self.tally), recovered

    async def flush(self) -> None:
        """Return when everything asked for so far is committed, what was settled too."""
        await self._do(lambda store: None)

    async def close(self, timeout: float = 5.0) -> None:
        """Flush, close the file and give up the lock; raises StorageError if the disk does not answer in time."""
        if self._lock.forked:
            return
        if self._writer is not None:
            self._closing = True
            self.tally.room.wake_all()
            writer = self._writer
            await writer.close(timeout)
            self._writer = None

    # ---- events

    def submit(self, event: Event, destinations: Sequence[str]) -> asyncio.Future[int]:
        """Begin an append; shield the future, or add a callback, to learn of a commit that nobody awaits any more."""
        packed = self.pack([(event, destinations)])
        return self._usable().submit(Job(asyncio.get_running_loop(), packed, size(packed[0][0])))

    async def append(self, event: Event, destinations: Sequence[str]) -> int:
        """Write a serialized event, for one or more destinations, and give its seq; seqs have the order of the calls.

        Raises OutboxFull, EventTooLarge, BadEvent and StorageError: the event is not in the outbox then.
        """
        return await self.submit(event, destinations)

    def submit_many(self, items: Sequence[tuple[Event, Sequence[str]]]) -> asyncio.Future[list[int]]:
        """Begin an append of events that are written all together or not at all."""
        return self.submit_packed(self.pack(items))

    def pack(self, items: Sequence[tuple[Event, Sequence[str]]]) -> list[Parcel]:
        """Make what `submit_packed` writes of serialized events, and reserve its room, for all of them or for none.

        Who has it must submit it, or release it. Raises OutboxFull, EventTooLarge, BadEvent and OutboxClosed.
        """
        self._usable()
        packed = [_parcel(event, destinations) for event, destinations in items]
        self.tally.reserve(size_of(packed))
        return packed

    def release(self, packed: Sequence[Parcel]) -> None:
        """Give back the room of what is not written after all."""
        self.tally.free(size_of(packed))

    def submit_packed(self, packed: Sequence[Parcel]) -> asyncio.Future[list[int]]:
        """Begin to write what `pack` made, all together or not at all; the future gives the seqs."""
        return self._usable().submit(Job(asyncio.get_running_loop(), packed, size_of(packed), many=True))

    async def append_many(self, items: Sequence[tuple[Event, Sequence[str]]]) -> list[int]:
        """Write events all together or not at all, and give their seqs; raises as `append` does."""
        return await self.submit_many(items)

    def settle(self, destination: str, seqs: Sequence[int]) -> None:
        """Say that a destination has these events; they are struck off soon, and come again after a crash before that.

        Nobody waits for it, and a disk that fails delays it.
        """
        self._usable().settle(destination, seqs)

    async def page(
        self, destination: str, after_seq: int = 0, limit_events: int = 1000, limit_bytes: int = 4 * 1024 * 1024
    ) -> list[tuple[int, Event]]:
        """Give the oldest events that wait for a destination, after a seq: at least one, if there are any."""
        return await self._do(lambda store: page(store, destination, after_seq, limit_events, limit_bytes))

    # ---- how much

    def counts(self) -> Counts:
        """How much it holds, what is being written included; it costs little, and any thread may ask."""
        return self.tally.counts()

    @property
    def full(self) -> bool:
        """Whether it has just had no room for an event, or has none for any."""
        return self.tally.refusing or self.tally.bytes >= self.tally.max_bytes

    async def wait_room(self, event: Event) -> None:
        """Wait until this event would fit; others may be faster. Raises EventTooLarge, and OutboxClosed at the end."""
        needed = size(pack(event))
        while not self.tally.fits(needed):
            self._usable()
            await self.tally.room.wait(lambda: not (self._closing or self.tally.fits(needed)))

    async def some_room(self, needed: int) -> None:
        """Wait until something leaves the outbox, or `look_again` is called, unless so many bytes have room now.

        Others may be faster. Raises OutboxClosed at the end.
        """
        self._usable()
        await self.tally.room.wait(lambda: not (self._closing or self.tally.fits(needed)))
        self._usable()

    def look_again(self) -> None:
        """Wake those who wait for room, for they may not need it any more."""
        self.tally.room.wake_all()

    # ---- dead letters

    async def bury(
        self, destination: str, seq: int, reason: str, kind: str, attempts: int, first_failed: float | None = None
    ) -> None:
        """Make a pending event a dead letter of a destination, however full the outbox is; raises NotInOutbox.

        Where other destinations still wait for the event, the file holds its body twice from then on.
        """
        why = Why(reason, kind, attempts, first_failed)
        if not await self._do(lambda store: dead.bury(store, destination, seq, why)):
            raise NotInOutbox(f"no event {seq} waits for {destination} in the outbox {self.path}")

    async def bury_event(
        self,
        destination: str,
        event: Event,
        reason: str,
        kind: str,
        attempts: int,
        first_failed: float | None = None,
    ) -> int:
        """Write a dead letter of an event that was not in the outbox, and give its number; raises as `append` does."""
        why, row = Why(reason, kind, attempts, first_failed), pack_row(event)
        self._usable()
        self.tally.reserve(row[ROW_SIZE])
        return await self._do(lambda store: dead.bury_row(store, destination, row, why), row[ROW_SIZE])

    async def dead(self, wanted: DeadFilter = EVERYTHING, limit: int = 100, after: int = 0) -> list[DeadLetter]:
        """List dead letters in the order of their numbers, from the one after `after`, without bodies."""
        return await self._do(lambda store: dead.read(store.connection, wanted, after, limit))

    async def dead_one(self, number: int) -> DeadLetter:
        """Give one dead letter with its body; raises NotInOutbox."""
        letter = await self._do(lambda store: dead.read_one(store.connection, number))
        if letter is None:
            raise NotInOutbox(f"there is no dead letter {number} in the outbox {self.path}")
        return letter

    async def replay(self, numbers: Iterable[int], destination: str | None = None) -> list[tuple[int, Event, str]]:
        """Make dead letters pending again, all or none, and give seq, event and destination of each.

        They go to the destinations they were meant for, or to the one given, and keep their ids. Numbers that are not
        there are left out.
        """
        wanted = list(numbers)
        return await self._do(lambda store: dead.replay(store, wanted, destination))

    async def purge(self, wanted: Iterable[int] | DeadFilter) -> int:
        """Delete dead letters for good, by number or by filter, and say how many there were."""
        which = wanted if isinstance(wanted, DeadFilter) else list(wanted)
        return await self._do(lambda store: dead.purge(store, which))

    # ---- ids of handled events

    async def handled(self, listener: str, most: int) -> list[str]:
        """Give the ids that were noted last for a listener, the oldest first; those beyond `most` are forgotten."""
        return await self._do(lambda store: handled.keep(store, listener, most))

    async def note_handled(self, listener: str, event_id: str, gone: Sequence[str] = ()) -> None:
        """Note the id of an event that a listener was done with, and forget others; they count no bytes."""
        await self._do(lambda store: handled.note(store, listener, event_id, gone))

    # ---- within

    async def _do(self, work: Callable[[Store], T], reserved: int = 0) -> T:
        result: T = await self._usable().submit(Job(asyncio.get_running_loop(), (), reserved, work=work))
        return result

    def _usable(self) -> Writer:
        if self._writer is None or self._closing or self._lock.forked:
            raise self._unusable()
        return self._writer

    def _unusable(self) -> Exception:
        if self._lock.forked:
            return OutboxForked(
                f"the outbox {self.path} belongs to the process that forked this one;"
                " open another, with a path of its own, in the child"
            )
        return OutboxClosed(f"the outbox {self.path} is not open")


def _parcel(event: Event, destinations: Sequence[str]) -> Parcel:
    if not destinations:
        raise BadEvent(f"the event {event.id} has no destination, so it would stay in the outbox for ever")
    if len(destinations) > 1 and len(set(destinations)) < len(destinations):
        raise BadEvent(f"the event {event.id} names a destination twice: {', '.join(destinations)}")
    return pack(event), tuple(destinations)

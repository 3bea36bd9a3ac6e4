"""Commits: accepted events that wait for the outbox, in order, until their lanes may have them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from evbus_like.engine.errors import OutboxFull, PutError
from evbus_like.engine.event import Event
from evbus_like.engine.sending.lane import Lane

if TYPE_CHECKING:
    from evbus_like.engine.outbox import Outbox

MAX_WAITING = 100_000  # events that put_nowait may send ahead of the disk; an awaited put waits for its own commit
GROUP_EVENTS, GROUP_BYTES = 1000, 4 * 1024 * 1024  # what one commit takes together; the first goes in at any size


class RoutedEvent:
    """An event in the form that some lanes get; those of `stored` find it in the outbox too."""

    __slots__ = ("event", "lanes", "stored")

    def __init__(self, event: Event, lanes: tuple[Lane, ...]) -> None:
        self.event = event
        self.lanes = lanes
        self.stored: tuple[Lane, ...] = ()


class PendingCommit:
    """The parcels of one put, and what of them is to be written; nothing where they only wait for those before them."""

    __slots__ = ("done", "packed", "parcels")

    def __init__(
        self, parcels: Sequence[RoutedEvent], packed: list[Any], done: Callable[[PutError | None], None]
    ) -> None:
        self.parcels = parcels
        self.packed = packed
        self.done = done


class Commits:
    """Lets events through to their lanes once they are on the disk.

    While one commit is under way the next events gather, and the next commit takes them all: whatever their number,
    it costs one job of the outbox and one wake-up of the loop.

    An event that is not stored itself waits as well, if a lane of its own still waits for an earlier event: so every
    lane gets its events in the order in which they were accepted. All others never wait here.
    """

    def __init__(self, outbox: Outbox | None, deliver: Callable[[], None]) -> None:
        self.outbox = outbox
        self._deliver = deliver  # called once lanes have got events
        self.waiting: deque[PendingCommit] = deque()  # public, for a look at it costs less than a call
        self._under_way = 0  # how many of them, from the oldest, the outbox is writing
        self._latest = 1  # how many it wrote last
        self._soon = False  # whether the loop was asked to begin a commit

    def __bool__(self) -> bool:
        return bool(self.waiting)

    def concerns(self, lanes: Sequence[Lane]) -> bool:
        """Whether one of the lanes waits for an event."""
        return bool(self.waiting) and any(lane.held for lane in lanes)

    def blocked(self, lanes: Sequence[Lane]) -> bool:
        """Whether events of these lanes must not be put without waiting: the outbox is full, or far behind."""
        if self.outbox is None or not (self.outbox.full or len(self.waiting) >= MAX_WAITING):
            return False
        return any(lane.stores() and lane.options.when_full in ("block", "spill") for lane in lanes)

    def add(self, parcels: Sequence[RoutedEvent], done: Callable[[PutError | None], None]) -> None:
        """Store what must be stored, and call `done` once the lanes have their events, or with why they have not.

        Raises OutboxFull, EventTooLarge and OutboxClosed at once: then nothing of it happened.
        """
        waiting = PendingCommit(parcels, self._pack(parcels), done)
        if not waiting.packed and not any(self.concerns(parcel.lanes) for parcel in parcels):
            return _let_through(waiting, iter(()))
        for parcel in parcels:
            for lane in parcel.lanes:
                lane.held += 1
            for lane in parcel.stored:
                lane.storing += 1
        self.waiting.append(waiting)
        self._begin()
        return None

    def _pack(self, parcels: Sequence[RoutedEvent]) -> list[Any]:
        """Make what is to be written, with room for it; where the outbox is full, lanes that may drop events do."""
        items = []
        for parcel in parcels:
            parcel.stored = stored = tuple([lane for lane in parcel.lanes if lane.stores()])
            if stored:
                items.append((parcel.event, tuple([lane.name for lane in stored])))
        if not items:
            return []
        assert self.outbox is not None
        try:
            return self.outbox.pack(items)
        except PutError as error:
            _drop(parcels, error)
            return []

    def _begin(self) -> None:
        """Begin a commit: at once for one event at a time, else when all tasks that are ready now have put theirs."""
        if self._under_way or self._soon:
            return
        if self._latest == 1:
            self._write()
        else:
            self._soon = True
            asyncio.get_running_loop().call_soon(self._write)

    def _write(self) -> None:
        assert self.outbox is not None
        self._soon = False
        group: list[Any] = []
        size = 0
        for waiting in self.waiting:
            if len(group) >= GROUP_EVENTS or size >= GROUP_BYTES:
                break
            self._under_way += 1
            group += waiting.packed
            size += sum([len(parcel.event.body) for parcel in waiting.parcels])
        try:
            future = self.outbox.submit_packed(group)
        except PutError as error:
            self.outbox.release(group)
            future = asyncio.get_running_loop().create_future()
            future.set_exception(error)
        self._latest = self._under_way
        future.add_done_callback(self._written)

    def _written(self, future: asyncio.Future[Any]) -> None:
        """Let through, in order, what a commit was for, and begin the next."""
        error: BaseException | None = None
        numbers: Iterator[int] = iter(())
        if future.cancelled():
            error = PutError("the outbox was closed before the event was stored")
        elif (error := future.exception()) is None:
            numbers = iter(future.result())
        done = [self.waiting.popleft() for _ in range(self._under_way)]
        while self.waiting and not self.waiting[0].packed:  # these waited for those before them
            done.append(self.waiting.popleft())
        self._under_way = 0
        for waiting in done:
            for parcel in waiting.parcels:
                for lane in parcel.lanes:
                    lane.held -= 1
                for lane in parcel.stored:
                    lane.storing -= 1
            if error is None or not waiting.packed:
                _let_through(waiting, numbers)
            else:
                waiting.done(error if isinstance(error, PutError) else PutError(str(error)))
        self._deliver()
        if self.waiting:
            self._begin()


def _let_through(waiting: PendingCommit, numbers: Iterator[int]) -> None:
    for parcel in waiting.parcels:
        event, stored = parcel.event, parcel.stored
        # Where some of the lanes store it and others do not, these get an event of their own, without a seq.
        memory = event.copy() if 0 < len(stored) < len(parcel.lanes) else event
        event.seq = next(numbers) if stored else 0
        for lane in parcel.lanes:
            if lane in stored:
                lane.take(event, stored=True)
            else:
                lane.take(memory, stored=False)
    waiting.done(None)


def _drop(parcels: Sequence[RoutedEvent], error: PutError) -> None:
    """Let the lanes that would store an event drop it; raises the error unless all of them may."""
    storing = {lane for parcel in parcels for lane in parcel.lanes if lane.stores()}
    if not isinstance(error, OutboxFull) or not all(lane.options.when_full.startswith("drop") for lane in storing):
        raise error
    for parcel in parcels:
        for lane in parcel.lanes:
            if lane in storing:
                lane.drop(parcel.event)
        parcel.lanes = tuple(lane for lane in parcel.lanes if lane not in storing)
        parcel.stored = ()

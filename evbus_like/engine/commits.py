"""Commits: accepted events that wait for the outbox, in order, until their lanes may have them."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evbus_like.engine.errors import OutboxFull, PutError
from evbus_like.engine.event import Event
from evbus_like.engine.lane import Lane

if TYPE_CHECKING:
    from evbus_like.engine.outbox import Outbox

MAX_WAITING = 100_000  # events that put_nowait may send ahead of the disk; an awaited put waits for its own commit
Items = Sequence[tuple[Event, tuple[str, ...]]]


@dataclass
class Parcel:
    """An event in the form that some lanes get; those of `stored` find it in the outbox too."""

    event: Event
    lanes: tuple[Lane, ...]
    stored: tuple[Lane, ...] = ()


@dataclass
class Waiting:
    """The parcels of one put, and the future of their commit; None where they only wait for those before them."""

    parcels: Sequence[Parcel]
    future: asyncio.Future[Any] | None
    done: Callable[[PutError | None], None]


class Commits:
    """Lets events through to their lanes once they are on the disk.

    An event that is not stored itself waits as well, if a lane of its own still waits for an earlier event: so every
    lane gets its events in the order in which they were accepted. All others never wait here.
    """

    def __init__(self, outbox: Outbox | None, deliver: Callable[[], None]) -> None:
        self.outbox = outbox
        self._deliver = deliver  # called once lanes have got events
        self._waiting: deque[Waiting] = deque()
        self._held: Counter[Lane] = Counter()  # lanes that wait for so many events
        self._storing: Counter[Lane] = Counter()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def concerns(self, lanes: Sequence[Lane]) -> bool:
        """Whether one of the lanes waits for an event."""
        return bool(self._waiting) and any(lane in self._held for lane in lanes)

    def blocked(self, lanes: Sequence[Lane]) -> bool:
        """Whether events of these lanes must not be put without waiting: the outbox is full, or far behind."""
        if self.outbox is None or not (self.outbox.full or len(self._waiting) >= MAX_WAITING):
            return False
        return any(lane.stores(self._storing[lane]) and lane.options.when_full in ("block", "spill") for lane in lanes)

    def add(self, parcels: Sequence[Parcel], done: Callable[[PutError | None], None]) -> None:
        """Store what must be stored, and call `done` once the lanes have their events, or with why they have not.

        Raises OutboxFull, EventTooLarge and OutboxClosed at once: then nothing of it happened.
        """
        items = []
        for parcel in parcels:
            parcel.stored = tuple(lane for lane in parcel.lanes if lane.stores(self._storing[lane]))
            if parcel.stored:
                items.append((parcel.event, tuple(lane.name for lane in parcel.stored)))
        future = self._submit(parcels, items) if items else None
        waiting = Waiting(parcels, future, done)
        if future is None and not self._waiting:
            return self._let_through(waiting, ())
        for lane in _lanes(parcels):
            self._held[lane] += 1
        for parcel in parcels:
            for lane in parcel.stored:
                self._storing[lane] += 1
        self._waiting.append(waiting)
        if future is not None:
            future.add_done_callback(self._advance)
        return None

    def _submit(self, parcels: Sequence[Parcel], items: Items) -> asyncio.Future[Any] | None:
        """Begin to store; where the outbox is full, lanes that may drop events do."""
        assert self.outbox is not None
        try:
            return self.outbox.submit_many(items)
        except OutboxFull:
            stored = {lane for parcel in parcels for lane in parcel.stored}
            if not all(lane.options.when_full.startswith("drop") for lane in stored):
                raise
        for parcel in parcels:
            for lane in parcel.stored:
                lane.drop(parcel.event)
            parcel.lanes = tuple(lane for lane in parcel.lanes if lane not in stored)
            parcel.stored = ()
        return None

    def _advance(self, _: object) -> None:
        """Let through, in order, what is committed."""
        while self._waiting and (self._waiting[0].future is None or self._waiting[0].future.done()):
            waiting = self._waiting.popleft()
            for lane in _lanes(waiting.parcels):
                self._held[lane] -= 1
                if not self._held[lane]:
                    del self._held[lane]
            for parcel in waiting.parcels:
                for lane in parcel.stored:
                    self._storing[lane] -= 1
            if waiting.future is None:
                self._let_through(waiting, ())
            elif waiting.future.cancelled():
                waiting.done(PutError("the outbox was closed before the event was stored"))
            elif (error := waiting.future.exception()) is None:
                self._let_through(waiting, waiting.future.result())
            else:
                waiting.done(error if isinstance(error, PutError) else PutError(str(error)))
        self._deliver()

    def _let_through(self, waiting: Waiting, seqs: Sequence[int]) -> None:
        numbers = iter(seqs)
        for parcel in waiting.parcels:
            seq = next(numbers) if parcel.stored else 0
            # Where some of the lanes store it and others do not, these get an event of their own, without a seq.
            memory = parcel.event.twin() if 0 < len(parcel.stored) < len(parcel.lanes) else parcel.event
            parcel.event.seq = seq
            for lane in parcel.lanes:
                stored = lane in parcel.stored
                lane.take(parcel.event if stored else memory, stored)
        waiting.done(None)


def _lanes(parcels: Sequence[Parcel]) -> list[Lane]:
    return [lane for parcel in parcels for lane in parcel.lanes]

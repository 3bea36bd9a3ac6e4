"""Commits: events that wait, in order, until the outbox has stored them and their lanes may have them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any, cast

from evbus_like.engine.errors import OutboxFull, PutError
from evbus_like.engine.event import Event
from evbus_like.engine.sending.lane import Lane

if TYPE_CHECKING:
    from evbus_like.engine.outbox import Outbox
    from evbus_like.engine.receipt import Receipt

MAX_WAITING_BYTES = 32 * 1024 * 1024  # of their records
MAX_WAITING = 100_000  # events of put_nowait that may wait for the disk; an awaited put waits for its own commit
GROUP_EVENTS, GROUP_BYTES = 1000, 4 * 1024 * 1024  # the most for one commit; the first event may be larger


Failed = Callable[[Event, "Receipt | None", PutError], None]


class RoutedEvent:
    """An event in the form that some lanes get; `stored` are those of the lanes that store it in the outbox."""

    __slots__ = ("event", "lanes", "stored")

    def __init__(self, event: Event, lanes: tuple[Lane, ...]) -> None:
        self.event = event
        self.lanes = lanes
        self.stored: tuple[Lane, ...] = ()


class PendingCommit:
    """The forms of one event and their records; no records if it only waits for earlier events."""

    __slots__ = ("bytes", "done", "records", "routed")
    lane = None  # not of one

    def __init__(
        self, routed: Sequence[RoutedEvent], records: list[Any], done: Callable[[PutError | None], None]
    ) -> None:
        self.routed = routed
        self.records = records
        self.bytes = sum([len(record) for record, _ in records]) if records else 0
        self.done = done


class StoredEvent:
    """An event of one lane that stores it, as most are: a commit hands over all that follow each other at once."""

    __slots__ = ("bytes", "event", "failed", "lane", "receipt", "records")

    def __init__(self, event: Event, lane: Lane, record: Any, receipt: Receipt | None, failed: Failed) -> None:
        self.event = event
        self.lane = lane
        self.records = (record,)
        self.bytes = len(record[0])
        self.receipt = receipt
        self.failed = failed


class Commits:
    """Hands events to their lanes once they are stored.

    The events that come during a commit are stored by the next one together: however many they are, that costs one
    job of the outbox and one wake-up of the loop.

    An event that is not stored waits too if one of its lanes waits for an earlier event, so that every lane gets its
    events in the order in which they were accepted. All other events never wait here.
    """

    def __init__(self, outbox: Outbox | None, deliver: Callable[[], None]) -> None:
        self.outbox = outbox
        self._deliver = deliver  # called after lanes have got events
        self.waiting: deque[PendingCommit | StoredEvent] = deque()  # public, because reading it costs less than a call
        self._bytes = 0  # of the records that wait
        self._under_way = 0  # how many of the oldest the outbox is writing
        self._latest = 1  # how many it wrote last
        self._soon = False  # whether a commit is scheduled

    def __bool__(self) -> bool:
        return bool(self.waiting)

    def delays(self, lanes: Sequence[Lane]) -> bool:
        """Whether an event for these lanes must wait for an earlier one."""
        if self.waiting:
            for lane in lanes:
                if lane.uncommitted:
                    return True
        return False

    def full_for(self, lanes: Sequence[Lane]) -> bool:
        """Whether put_nowait must refuse events for these lanes: the outbox is full, or far behind."""
        behind = len(self.waiting) >= MAX_WAITING or self._bytes >= MAX_WAITING_BYTES
        if self.outbox is None or not (self.outbox.full or behind):
            return False
        return any(lane.must_store() and lane.options.when_full in ("block", "spill") for lane in lanes)

    def add(self, routed: Sequence[RoutedEvent], done: Callable[[PutError | None], None]) -> None:
        """Store what must be stored, and call `done` when the lanes have the event, or with the error.

        Raises OutboxFull, EventTooLarge or OutboxClosed at once; then no lane gets the event.
        """
        waiting = PendingCommit(routed, self._pack(routed), done)
        if not waiting.records and not any(self.delays(each.lanes) for each in routed):
            return _hand_over(waiting, iter(()))
        for each in routed:
            for lane in each.lanes:
                lane.expect(lane in each.stored)
        self.waiting.append(waiting)
        self._bytes += waiting.bytes
        self._begin()
        return None

    def store(self, event: Event, lane: Lane, names: tuple[str, ...], receipt: Receipt | None, failed: Failed) -> None:
        """Do what `add` does for an event of one lane that stores it; `names` is the lane's name alone.

        The receipt, if there is one, is told when the lane has the event; `failed` is called with the error.
        """
        assert self.outbox is not None
        try:
            record = self.outbox.pack_one(event, names)
        except PutError:  # its lane may drop it
            return self.add([RoutedEvent(event, (lane,))], partial(_finish, event, names, receipt, failed))
        lane.expect(stored=True)
        waiting = StoredEvent(event, lane, record, receipt, failed)
        self.waiting.append(waiting)
        self._bytes += waiting.bytes
        self._begin()
        return None

    def _pack(self, routed: Sequence[RoutedEvent]) -> list[Any]:
        """Make the records and reserve room for them; if the outbox is full, lanes that may drop events do."""
        items = []
        for each in routed:
            each.stored = stored = tuple([lane for lane in each.lanes if lane.must_store()])
            if stored:
                items.append((each.event, tuple([lane.name for lane in stored])))
        if not items:
            return []
        assert self.outbox is not None
        try:
            return self.outbox.pack(items)
        except PutError as error:
            _drop(routed, error)
            return []

    def _begin(self) -> None:
        """Begin a commit: at once for single events, otherwise after all tasks that are ready have put."""
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
            group += waiting.records
            size += waiting.bytes
        try:
            future = self.outbox.submit_packed(group)
        except PutError as error:
            self.outbox.release(group)
            future = asyncio.get_running_loop().create_future()
            future.set_exception(error)
        self._latest = self._under_way
        future.add_done_callback(self._written)

    def _written(self, future: asyncio.Future[Any]) -> None:
        """Hand over the events of a commit, in order, and begin the next."""
        error: BaseException | None = None
        numbers: Iterator[int] = iter(())
        if future.cancelled():
            error = PutError("the outbox was closed before the event was stored")
        elif (error := future.exception()) is None:
            numbers = iter(future.result())
        done = [self.waiting.popleft() for _ in range(self._under_way)]
        while self.waiting and not self.waiting[0].records:  # these only waited for earlier ones
            done.append(self.waiting.popleft())
        self._under_way = 0
        self._bytes -= sum([waiting.bytes for waiting in done])
        failed = error if error is None or isinstance(error, PutError) else PutError(str(error))
        for lane, run in groupby(done, attrgetter("lane")):
            if lane is not None:
                _hand_over_run(lane, cast("list[StoredEvent]", list(run)), numbers, failed)
                continue
            for waiting in cast("Iterator[PendingCommit]", run):
                for each in waiting.routed:
                    for lane in each.lanes:
                        lane.arrived(lane in each.stored)
                if failed is None or not waiting.records:
                    _hand_over(waiting, numbers)
                else:
                    waiting.done(failed)
        self._deliver()
        if self.waiting:
            self._begin()


def _hand_over(waiting: PendingCommit, numbers: Iterator[int]) -> None:
    for each in waiting.routed:
        event, stored = each.event, each.stored
        # If only some of the lanes store the event, the others get a copy without a number.
        memory = event.copy() if 0 < len(stored) < len(each.lanes) else event
        event.seq = next(numbers) if stored else 0
        for lane in each.lanes:
            if lane in stored:
                lane.accept(event, stored=True)
            else:
                lane.accept(memory, stored=False)
    waiting.done(None)


def _hand_over_run(lane: Lane, run: Sequence[StoredEvent], numbers: Iterator[int], error: PutError | None) -> None:
    """Hand over events that follow each other and are stored for the same lane alone."""
    lane.arrived(stored=True, count=len(run))
    if error is None:
        events = [waiting.event for waiting in run]
        for event in events:
            event.seq = next(numbers)
        lane.accept_stored(events)
    for waiting in run:
        _finish(waiting.event, waiting.records[0][1], waiting.receipt, waiting.failed, error)


def _finish(
    event: Event, names: tuple[str, ...], receipt: Receipt | None, failed: Failed, error: PutError | None
) -> None:
    if error is not None:
        failed(event, receipt, error)
    elif receipt is not None:
        receipt.accept(names)


def _drop(routed: Sequence[RoutedEvent], error: PutError) -> None:
    """Let the lanes that would store an event drop it; raises the error unless all of them may drop."""
    storing = {lane for each in routed for lane in each.lanes if lane.must_store()}
    if not isinstance(error, OutboxFull) or not all(lane.options.when_full.startswith("drop") for lane in storing):
        raise error
    for each in routed:
        for lane in each.lanes:
            if lane in storing:
                lane.drop(each.event)
        each.lanes = tuple(lane for lane in each.lanes if lane not in storing)
        each.stored = ()

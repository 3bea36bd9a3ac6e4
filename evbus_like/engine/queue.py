"""A bounded queue with asyncio.Queue's interface for any thread and any event loop, also before a loop runs.

asyncio.Queue belongs to one loop and is not thread-safe; queue.Queue blocks. Here a deque holds the items, because its
appends and pops are atomic, and waiting tasks are woken in their own loops.
"""

from __future__ import annotations

import asyncio
import marshal
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Any, Generic, TypeVar

from evbus_like.engine.errors import QueueFull, QueueShutDown
from evbus_like.engine.event import Event
from evbus_like.engine.waiting import CrossLoopCondition

T = TypeVar("T")
SAMPLED = 50  # of so many events in a burst, one is measured while few bytes can be waiting
WALKED = 10_000  # parts of a value that are looked at


class Queue(Generic[T]):
    """A first-in, first-out queue; `maxsize` 0 means no bound, `name` is used in errors.

    Threads that put at the same moment can exceed `maxsize` by one item each, or succeed just after a shutdown.
    """

    def __init__(self, maxsize: int = 0, name: str = "the queue") -> None:
        self.maxsize = maxsize
        self.name = name
        self.items: deque[T] = deque()
        self.is_shutdown = False
        self._taken = 0  # taken, and not yet task_done
        self._getters = CrossLoopCondition()
        self._putters = CrossLoopCondition()
        self._joiners = CrossLoopCondition()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} qsize={len(self.items)} maxsize={self.maxsize}>"

    def qsize(self) -> int:
        """Return the number of items."""
        return len(self.items)

    def empty(self) -> bool:
        """Whether there are no items."""
        return not self.items

    def full(self) -> bool:
        """Whether put_nowait would raise."""
        return 0 < self.maxsize <= len(self.items)

    def put_nowait(self, item: T) -> None:
        """Append `item`; raises QueueFull or QueueShutDown."""
        if self.is_shutdown:
            raise self.shut_down()
        if 0 < self.maxsize <= len(self.items):
            raise QueueFull(f"{self.name} is full ({self.maxsize} items)")
        self.items.append(item)
        if self._getters.waiters:
            self._getters.wake_one()

    def extend(self, items: Sequence[T]) -> None:
        """Append many items at once; the caller has checked that there is room. Raises QueueShutDown."""
        if self.is_shutdown:
            raise self.shut_down()
        self.items.extend(items)
        if self._getters.waiters:
            for _ in range(min(len(items), len(self._getters))):
                self._getters.wake_one()

    async def put(self, item: T) -> None:
        """Append `item`, waiting for room; raises QueueShutDown."""
        while True:
            try:
                return self.put_nowait(item)
            except QueueFull:  # others may be faster each time there is room
                await self._putters.wait(lambda: self.full() and not self.is_shutdown)

    def get_nowait(self) -> T:
        """Take the oldest item; raises asyncio.QueueEmpty, or QueueShutDown once the queue is shut down and empty."""
        self._taken += 1
        try:
            item = self.items.popleft()
        except IndexError:
            self._taken -= 1
            if self.is_shutdown:
                raise self.shut_down() from None
            raise asyncio.QueueEmpty(f"{self.name} is empty") from None
        if self._putters.waiters:
            self._putters.wake_one()
        return item

    async def get(self) -> T:
        """Take the oldest item, waiting for one; raises QueueShutDown once the queue is shut down and empty."""
        while True:
            try:
                return self.get_nowait()
            except asyncio.QueueEmpty:
                await self.wait_more()

    async def wait_more(self) -> None:
        """Wait until there is an item or a shutdown."""
        await self._getters.wait(lambda: not self.items and not self.is_shutdown)

    async def wait_filled(self) -> None:
        """Wait until there is an item (another taker may still be faster), or until `wake` is called."""
        await self._getters.wait(self.empty)

    async def wait_room(self) -> None:
        """Wait until there is room (another putter may still be faster)."""
        await self._putters.wait(self.full)

    def wake(self) -> None:
        """Wake all tasks that wait for an item, to let them see a stop."""
        self._getters.wake_all()

    def take(self, most: int) -> list[T]:
        """Take the oldest items, at most `most`, without waiting; call task_done for each."""
        taken: list[T] = []
        popleft, append = self.items.popleft, taken.append
        try:
            for _ in range(min(most, len(self.items))):
                append(popleft())
        except IndexError:  # another thread was faster
            pass
        self._taken += len(taken)
        for _ in range(min(len(taken), len(self._putters.waiters))):
            self._putters.wake_one()
        return taken

    def task_done(self, count: int = 1) -> None:
        """Record that items which were taken are processed."""
        if count > self._taken:
            raise ValueError("task_done() called too many times")
        self._taken -= count
        if not self._unfinished():
            self._joiners.wake_all()

    async def join(self) -> None:
        """Wait until every item was taken and processed."""
        while self._unfinished():
            await self._joiners.wait(self._unfinished)

    def shutdown(self, immediate: bool = False) -> None:
        """Refuse new items and wake all waiting tasks, as asyncio.Queue does from Python 3.13 on.

        Queued items can still be taken; `immediate` discards them, and `join` does not wait for them.
        """
        self.is_shutdown = True
        if immediate:
            self.items.clear()
        if not self._unfinished():
            self._joiners.wake_all()
        self._getters.wake_all()
        self._putters.wake_all()

    def shut_down(self) -> QueueShutDown:
        """Return the error for a use of the queue after its shutdown."""
        return QueueShutDown(f"{self.name} is shut down: Queue.shutdown was called")

    def _unfinished(self) -> bool:
        return bool(self.items) or self._taken > 0


class Intake(Queue[Event]):
    """The intake queue of a bus: its events are bounded in number and in bytes, as they will be serialized.

    Measuring a body costs a third of a put. So one in 50 is measured, until those that wait could be a quarter of
    `max_bytes`; then all are, until none is left. One event more than `max_bytes` may be in the queue. `measure` gives
    the size of one.
    """

    def __init__(self, maxsize: int = 0, max_bytes: int = 0, name: str = "the queue") -> None:
        super().__init__(maxsize, name)
        self.max_bytes = max_bytes
        self.bytes = 0  # of all events; 0 while they are not measured
        self.measure: Callable[[Event], int] = _size
        self._measured = False
        self._measure_at = 1  # how many events must wait for the next one to be measured; 0 if all are
        self._largest = 0
        self._lock = Lock()

    def full(self) -> bool:
        """Whether put_nowait would raise."""
        return super().full() or (self._measured and 0 < self.max_bytes <= self.bytes)

    def put_nowait(self, item: Event) -> None:
        """Append an event; raises QueueFull or QueueShutDown."""
        if self.is_shutdown:
            raise self.shut_down()
        waiting = len(self.items)
        if 0 < self.maxsize <= waiting:
            raise QueueFull(f"{self.name} is full ({self.maxsize} items)")
        if waiting >= self._measure_at:
            self._measure(item)
        self.items.append(item)
        if self._getters.waiters:
            self._getters.wake_one()

    def get_nowait(self) -> Event:
        """Take the oldest event; raises asyncio.QueueEmpty, or QueueShutDown once the queue is shut down and empty."""
        event = super().get_nowait()
        self._forget([event])
        return event

    def take(self, most: int) -> list[Event]:
        """Take the oldest events, at most `most`, without waiting; call task_done for each."""
        taken = super().take(most)
        self._forget(taken)
        return taken

    def _measure(self, event: Event) -> None:
        size = self.measure(event)
        if not self._measured:
            self._largest = max(self._largest, size)
            self._measure_at = len(self.items) + SAMPLED
            if (len(self.items) + SAMPLED) * self._largest * 4 < self.max_bytes or not self.max_bytes:
                return
            with self._lock:
                self._measured, self._measure_at, self.bytes = True, 0, 0
                for each in self.items.copy():
                    each.size = size_of(each.body)  # not `measure`: it runs code of the application
                    self.bytes += each.size
        if 0 < self.max_bytes <= self.bytes:
            raise QueueFull(
                f"{self.name} is full ({len(self.items)} events of {self.bytes} bytes; at most {self.max_bytes})"
            )
        event.size = size
        with self._lock:
            self.bytes += size

    def _forget(self, taken: Sequence[Event]) -> None:
        if not self._measured:
            self._measure_at = min(self._measure_at, len(self.items) + SAMPLED) if self.items else 1
            return
        with self._lock:
            self.bytes -= sum([event.size for event in taken])
            if not self.items:
                self._measured, self._measure_at, self.bytes, self._largest = False, 1, 0, 0


def _size(event: Event) -> int:
    return size_of(event.body)


def size_of(body: Any) -> int:
    """Estimate the bytes of a body once it is serialized."""
    if type(body) is bytes or type(body) is str:
        return len(body)
    try:
        return len(marshal.dumps(body))  # in C, and near to JSON and msgpack
    except ValueError:  # other types than plain ones
        return _walk(body)


def _walk(body: Any) -> int:
    size, seen, rest = 0, 0, [body]
    while rest and seen < WALKED:
        seen += 1
        part = rest.pop()
        if isinstance(part, str | bytes | bytearray):
            size += len(part)
        elif isinstance(part, Mapping):
            rest += [*part.keys(), *part.values()]
        elif isinstance(part, list | tuple | set | frozenset):
            rest += part
        else:
            size += 8
            rest += [*vars(part).values()] if hasattr(part, "__dict__") else []
    return size

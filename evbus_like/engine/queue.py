"""A bounded queue with asyncio.Queue's interface for any thread and any event loop, also before a loop runs.

asyncio.Queue belongs to one loop and is not thread-safe; queue.Queue blocks. Here a deque holds the items, because its
appends and pops are atomic, and waiting tasks are woken in their own loops.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Generic, TypeVar

from evbus_like.engine.errors import QueueFull, QueueShutDown
from evbus_like.engine.waiting import CrossLoopCondition

T = TypeVar("T")


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
        if self._getters:
            self._getters.wake_one()

    def extend(self, items: Sequence[T]) -> None:
        """Append many items at once; the caller has checked that there is room. Raises QueueShutDown."""
        if self.is_shutdown:
            raise self.shut_down()
        self.items.extend(items)
        if self._getters:
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
        if self._putters:
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
        for _ in range(min(len(taken), len(self._putters))):
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

"""A queue of received events that are handled in batches."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Sequence

from evbus_like.engine.receiving.keyed_queue import KeyedQueue
from evbus_like.engine.receiving.received import ReceivedEvent


class BatchQueue(KeyedQueue):
    """Gives at most `most` events at once, `linger` seconds after the first of them at the latest.

    Events of one key may be in one batch, in their order; the next of that key is in no batch until all are done.
    """

    most: int
    linger: float
    one_only = False  # whether a batch has one event for now

    def __init__(self, no_waiter: Callable[[], None] = lambda: None) -> None:
        super().__init__(no_waiter)
        self._alone = asyncio.Lock()  # one batch is collected at a time, or all would be small
        self._batch: list[ReceivedEvent] = []  # which is being collected
        self._keys: dict[Hashable, None] = {}  # of its events
        self._beside: dict[Hashable, int] = {}  # events of a key in batches, beside the first, which blocks the key
        self._more: asyncio.Future[None] | None = None

    def add(self, event: ReceivedEvent) -> None:
        super().add(event)
        self._wake()

    def _wake(self) -> None:
        if self._more is not None and not self._more.done():
            self._more.set_result(None)

    async def next_batch(self) -> list[ReceivedEvent]:
        """Return the next batch, of one event at least."""
        now = asyncio.get_running_loop().time
        async with self._alone:
            while True:
                batch: list[ReceivedEvent] = []
                self._batch, self._keys = batch, {}
                self._take(await self.next())
                until = now() + self.linger
                self._fill()
                while batch and len(batch) < self.most and (left := until - now()) > 0:
                    self._more = asyncio.get_running_loop().create_future()
                    await asyncio.wait([self._more], timeout=left)
                    self._fill()
                self._more = None
                await self.pay(len(batch) - 1)
                self._batch = []
                if batch:  # else the feed has ended meanwhile
                    return batch

    async def pay(self, count: int) -> None:
        """Wait until so many events more may be given with the first one of a batch."""

    def _fill(self) -> None:
        """Take what there is, as far as there is room."""
        if not self._batch or self.one_only:
            return
        for key in self._keys:
            self._take_blocked(key)
        while self._ready and len(self._batch) < self.most:
            self._take(self._ready.popleft())

    def _take(self, event: ReceivedEvent) -> None:
        self._batch.append(event)
        if event.order is not None:
            self._keys[event.order] = None
            self._take_blocked(event.order)

    def _take_blocked(self, key: Hashable) -> None:
        blocked = None if self.one_only else self._blocked.get(key)
        for _ in range(min(len(blocked or ()), self.most - len(self._batch))):
            assert blocked
            self._batch.append(blocked.popleft())
            self._beside[key] = self._beside.get(key, 0) + 1

    def done(self, event: ReceivedEvent) -> None:
        if not self._one_less(event.order):
            super().done(event)

    def _one_less(self, key: Hashable) -> bool:
        """Count one event of a key less; returns whether there are others, or an event that waits for its retry."""
        count = self._beside.get(key, 0)
        if count > 1:
            self._beside[key] = count - 1
        elif count:
            del self._beside[key]
        return count > 0

    def put_back(self, events: Sequence[ReceivedEvent]) -> None:
        """Give events again once an earlier one of their key is done, which waits for its retry."""
        for event in reversed(events):
            if not self._one_less(event.order):  # none of its key is before it
                self.retry(event)
            elif (blocked := self._blocked.get(event.order)) is not None:
                blocked.appendleft(event)
            else:
                self._blocked[event.order] = deque((event,))

    def clear(self) -> list[ReceivedEvent]:
        collected = self._batch.copy()
        for event in collected:
            self._blocked.pop(event.order, None)
            self._beside.pop(event.order, None)
        self._batch.clear()
        self._wake()
        return [*collected, *super().clear()]

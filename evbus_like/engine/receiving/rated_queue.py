"""Queues that give their events at a rate, and fair shares to those who send them."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any

from evbus_like.engine.rate import Bucket
from evbus_like.engine.receiving.keyed_queue import KeyedQueue
from evbus_like.engine.receiving.received import ReceivedEvent

LONGEST = 255  # characters of a value that shares are by


class RatedQueue(KeyedQueue):
    """Gives an event when its bucket lets it; an event that waits for that keeps no worker."""

    bucket: Bucket
    on_wait: Callable[[], None]

    def __init__(self, no_waiter: Callable[[], None] = lambda: None) -> None:
        super().__init__(no_waiter)
        self._turn = asyncio.Lock()  # one worker at a time waits for the next place, and keeps it from no other process

    def share_out(self, key_of: Callable[[ReceivedEvent], Hashable]) -> None:
        """Give the events of each key in turn; called before the first event comes."""
        self._ready = FairShares(key_of)

    def next_ready(self) -> ReceivedEvent | None:
        return None  # `next` asks the bucket

    async def next(self) -> ReceivedEvent:
        async with self._turn:
            while True:
                event = await super().next()
                if self.bucket.lacks():
                    self._ready.appendleft(event)  # the feed may end meanwhile, and takes it back
                    if await self.bucket.refill(len(self._ready)):
                        self.on_wait()
                    continue
                if not (delay := self.bucket.reserve()):
                    return event
                self._ready.appendleft(event)  # the feed may end meanwhile, and takes it back
                self.on_wait()
                await self._wait(delay, 1)
                if self._ready:
                    return self._ready.popleft()
                self.bucket.give_back()

    async def pay(self, count: int) -> None:
        """Wait until so many events more may come, that are taken with the first."""
        if count and self.bucket.lacks(count):
            await self.bucket.refill(count, count)
        if count and (delay := self.bucket.reserve(count)):
            self.on_wait()
            await self._wait(delay, count)

    async def _wait(self, delay: float, count: int) -> None:
        try:
            await asyncio.sleep(delay)
        except asyncio.CancelledError:
            self.bucket.give_back(count)
            raise


class FairShares:
    """Ready events, one of each sender in turn."""

    def __init__(self, key_of: Callable[[ReceivedEvent], Hashable]) -> None:
        self._key_of = key_of
        self._queues: OrderedDict[Hashable, deque[ReceivedEvent]] = OrderedDict()
        self._count = 0
        self._last: tuple[ReceivedEvent | None, Hashable] = None, None  # what was taken, which may come back

    def append(self, event: ReceivedEvent) -> None:
        """Add an event behind those of its sender."""
        self._queues.setdefault(self._key_of(event), deque()).append(event)
        self._count += 1

    def appendleft(self, event: ReceivedEvent) -> None:
        """Add an event that is the next."""
        key = self._last[1] if self._last[0] is event else self._key_of(event)
        self._queues.setdefault(key, deque()).appendleft(event)
        self._queues.move_to_end(key, last=False)
        self._count += 1

    def popleft(self) -> ReceivedEvent:
        """Take the next event; its sender has its turn again after all others."""
        key, queue = next(iter(self._queues.items()))
        event = queue.popleft()
        self._last = event, key
        self._count -= 1
        if queue:
            self._queues.move_to_end(key)
        else:
            del self._queues[key]
        return event

    pop = popleft

    def clear(self) -> None:
        """Remove all events."""
        self._queues.clear()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[ReceivedEvent]:
        return iter([event for queue in self._queues.values() for event in queue])


def share_of(name: str, decode: Callable[[ReceivedEvent], Any]) -> Callable[[ReceivedEvent], str]:
    """Return the function that says whose an event is: by a header of this name, else by a part of the body, a.b.

    Events that have neither share one place.
    """
    path = name.split(".")

    def share(event: ReceivedEvent) -> str:
        if name in event.headers:
            return _text(event.headers[name])
        try:
            value = decode(event)
        except Exception:  # the invoker says what is wrong with it
            return ""
        for part in path:
            if not isinstance(value, Mapping) or part not in value:
                return ""
            value = value[part]
        return _text(value)

    return share


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    return str(value)[:LONGEST] if isinstance(value, (str, int, float)) else ""

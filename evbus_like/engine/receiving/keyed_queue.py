"""A queue of received events in which events with the same key are handled one after another."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from typing import Protocol

from evbus_like.engine.receiving.received import ReceivedEvent


class Ready(Protocol):
    """Events that are ready, in an order of its own: what a queue needs of a deque."""

    def append(self, event: ReceivedEvent, /) -> None:
        """Add an event as the last one."""

    def appendleft(self, event: ReceivedEvent, /) -> None:
        """Add an event that is the next."""

    def popleft(self) -> ReceivedEvent:
        """Take the next event."""

    def pop(self) -> ReceivedEvent:
        """Take one that is not the next, if there are several."""

    def clear(self) -> None:
        """Remove all events."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[ReceivedEvent]: ...


class KeyedQueue:
    """Events in the order of their arrival. Of those with the same `order`, the next is ready when one is done.

    `no_waiter` is called when an event becomes ready and nobody waits for it.
    """

    def __init__(self, no_waiter: Callable[[], None] = lambda: None) -> None:
        self._no_waiter = no_waiter
        self._ready: Ready = deque()
        # By the keys that are being handled; None while no other event of the key waits, which is most of the time.
        self._blocked: dict[Hashable, deque[ReceivedEvent] | None] = {}
        self._waiters: deque[asyncio.Future[None]] = deque()

    def add(self, event: ReceivedEvent) -> None:
        """Add an event."""
        order = event.order
        if order is not None:
            if order in self._blocked:
                blocked = self._blocked[order]
                if blocked is None:
                    self._blocked[order] = deque((event,))
                else:
                    blocked.append(event)
                return
            self._blocked[order] = None
        self._make_ready(event)

    def retry(self, event: ReceivedEvent) -> None:
        """Make an event ready again that `next` returned and that is not done: its key stays blocked."""
        self._make_ready(event)

    def _make_ready(self, event: ReceivedEvent) -> None:
        self._ready.append(event)
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._no_waiter()

    async def next(self) -> ReceivedEvent:
        """Return the next ready event, waiting for one."""
        while not self._ready:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled() and self._ready:  # woken and cancelled: wake another
                    self._make_ready(self._ready.pop())
                raise
        return self._ready.popleft()

    def next_ready(self) -> ReceivedEvent | None:
        """Return the next ready event if `next` would return it at once."""
        return self._ready.popleft() if self._ready else None

    def done(self, event: ReceivedEvent) -> None:
        """Make the next event of the same key ready."""
        order = event.order
        if order is None:
            return
        blocked = self._blocked.get(order)
        if blocked:
            self._make_ready(blocked.popleft())
        else:
            self._blocked.pop(order, None)

    def clear(self) -> list[ReceivedEvent]:
        """Remove and return the events that `next` has not returned; the keys of the others stay blocked."""
        removed = [*self._ready, *(event for blocked in self._blocked.values() for event in blocked or ())]
        for event in self._ready:
            self._blocked.pop(event.order, None)
        for order in self._blocked:
            self._blocked[order] = None
        self._ready.clear()
        return removed

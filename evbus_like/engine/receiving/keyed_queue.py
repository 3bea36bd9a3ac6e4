"""Turns: which of the received events is handled next."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable

from evbus_like.engine.receiving.received import ReceivedEvent


class KeyedQueue:
    """Events in the order of their arrival; those of the same `order` one after another, the next when one is done.

    `short` is called when an event's turn comes and nobody waits for it.
    """

    def __init__(self, short: Callable[[], None] = lambda: None) -> None:
        self._short = short
        self._ready: deque[ReceivedEvent] = deque()
        self._behind: dict[Hashable, deque[ReceivedEvent]] = {}  # of orders that are being handled
        self._waiting: deque[asyncio.Future[None]] = deque()

    def add(self, event: ReceivedEvent) -> None:
        """Take an event in."""
        if event.order is not None:
            behind = self._behind.get(event.order)
            if behind is not None:
                behind.append(event)
                return
            self._behind[event.order] = deque()
        self._offer(event)

    def again(self, event: ReceivedEvent) -> None:
        """Take an event in that `next` gave before and that is not done: it keeps its place."""
        self._offer(event)

    def _offer(self, event: ReceivedEvent) -> None:
        self._ready.append(event)
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._short()

    async def next(self) -> ReceivedEvent:
        """Give the next event, waiting for one."""
        while not self._ready:
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled() and self._ready:  # woken and cancelled: hand it on
                    self._offer(self._ready.pop())
                raise
        return self._ready.popleft()

    def done(self, event: ReceivedEvent) -> None:
        """Let the next event of the same order have its turn."""
        if event.order is None:
            return
        behind = self._behind.get(event.order)
        if behind:
            self._offer(behind.popleft())
        elif behind is not None:
            del self._behind[event.order]

    def clear(self) -> list[ReceivedEvent]:
        """Take out what nobody has begun; those that are being handled keep their orders."""
        left = [*self._ready, *(event for behind in self._behind.values() for event in behind)]
        for event in self._ready:
            self._behind.pop(event.order, None)
        for behind in self._behind.values():
            behind.clear()
        self._ready.clear()
        return left

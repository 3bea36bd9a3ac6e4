"""A window of event ids: tells repeats from events that are new."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class DedupWindow:
    """Remembers the latest `size` ids, in memory."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._ids: OrderedDict[str, None] = OrderedDict()
        self._under_way: dict[str, asyncio.Event] = {}

    def has(self, event_id: str) -> bool:
        """Whether the id was added, not too long ago."""
        return event_id in self._ids

    @asynccontextmanager
    async def alone(self, event_id: str) -> AsyncIterator[None]:
        """Have one event of an id handled at a time: another one, received meanwhile, is its repeat if it succeeds."""
        while (other := self._under_way.get(event_id)) is not None:
            await other.wait()
        self._under_way[event_id] = done = asyncio.Event()
        try:
            yield
        finally:
            self._under_way.pop(event_id, None)
            done.set()

    async def add(self, event_id: str) -> None:
        """Remember an id; the oldest goes."""
        self._remember(event_id)

    def _remember(self, event_id: str) -> list[str]:
        """Remember an id, and give those that have to go."""
        self._ids[event_id] = None
        self._ids.move_to_end(event_id)
        return [self._ids.popitem(last=False)[0] for _ in range(len(self._ids) - self.size)]

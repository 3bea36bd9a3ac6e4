"""A window of event ids: tells repeats from events that are new."""

from __future__ import annotations

from collections import OrderedDict


class Window:
    """Remembers the latest `size` ids, in memory."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._ids: OrderedDict[str, None] = OrderedDict()

    def has(self, event_id: str) -> bool:
        """Whether the id was added, not too long ago."""
        return event_id in self._ids

    async def add(self, event_id: str) -> None:
        """Remember an id; the oldest goes."""
        self._remember(event_id)

    def _remember(self, event_id: str) -> list[str]:
        """Remember an id, and give those that have to go."""
        self._ids[event_id] = None
        self._ids.move_to_end(event_id)
        return [self._ids.popitem(last=False)[0] for _ in range(len(self._ids) - self.size)]

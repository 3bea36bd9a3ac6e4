"""Dedup windows remember the ids of handled events, so that a repeated event is not handled again."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from evbus_like.engine.backoff import Backoff
from evbus_like.engine.errors import StorageError

if TYPE_CHECKING:
    from evbus_like.engine.outbox import Outbox

log = logging.getLogger("evbus_like.handlers")


class DedupWindow:
    """Remembers the latest `size` ids, in memory."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._ids: OrderedDict[str, None] = OrderedDict()
        self._running: dict[str, asyncio.Event] = {}

    def has(self, event_id: str) -> bool:
        """Whether the id is in the window."""
        return event_id in self._ids

    @asynccontextmanager
    async def one_at_a_time(self, event_id: str) -> AsyncIterator[None]:
        """Wait while another event with this id is handled; if that succeeds, this one is its repeat."""
        while (other := self._running.get(event_id)) is not None:
            await other.wait()
        self._running[event_id] = done = asyncio.Event()
        try:
            yield
        finally:
            self._running.pop(event_id, None)
            done.set()

    async def add(self, event_id: str) -> None:
        """Add an id; the oldest one leaves a full window."""
        self._add(event_id)

    def _add(self, event_id: str) -> list[str]:
        """Add an id and return those that leave the window."""
        self._ids[event_id] = None
        self._ids.move_to_end(event_id)
        return [self._ids.popitem(last=False)[0] for _ in range(len(self._ids) - self.size)]


class DurableDedupWindow(DedupWindow):
    """Remembers the latest `size` ids in the outbox file too, under the name of the listener's queue."""

    def __init__(self, outbox: Outbox, listener: str, size: int) -> None:
        super().__init__(size)
        self._outbox = outbox
        self.listener = listener

    async def load(self) -> None:
        """Read the stored ids; raises StorageError."""
        for event_id in await self._outbox.handled_ids(self.listener, self.size):
            self._add(event_id)

    async def add(self, event_id: str) -> None:
        """Add an id and return when it is on disk; a failing disk is tried again forever.

        The event stays unacknowledged meanwhile: after giving up it would be handled again, or become a dead letter
        although its handler succeeded.
        """
        removed = self._add(event_id)
        backoff = Backoff(0.1, 5.0)
        while True:
            try:
                return await self._outbox.add_handled_id(self.listener, event_id, removed)
            except StorageError as error:
                log.error("%s: cannot store that %s was handled, trying again: %s", self.listener, event_id, error)
                await asyncio.sleep(backoff.next())

"""A window of event ids that a restart does not forget: they are in the outbox file, too."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from evbus_like.engine.backoff import Backoff
from evbus_like.engine.errors import StorageError
from evbus_like.engine.receiving.dedup import DedupWindow

if TYPE_CHECKING:
    from evbus_like.engine.outbox import Outbox

log = logging.getLogger("evbus_like.handlers")


class DurableDedupWindow(DedupWindow):
    """Remembers the latest `size` ids of a listener, which is the name of its queue, on the disk as well."""

    def __init__(self, outbox: Outbox, listener: str, size: int) -> None:
        super().__init__(size)
        self._outbox = outbox
        self.listener = listener

    async def load(self) -> None:
        """Learn what the disk knows; raises StorageError."""
        for event_id in await self._outbox.handled_ids(self.listener, self.size):
            self._remember(event_id)

    async def add(self, event_id: str) -> None:
        """Remember an id, and return when it is on the disk; a disk that fails is tried again until it does not.

        The event is not acknowledged meanwhile: given up, it would be handled again, or be a dead letter, though all
        is well with it.
        """
        gone = self._remember(event_id)
        backoff = Backoff(0.1, 5.0)
        while True:
            try:
                return await self._outbox.add_handled_id(self.listener, event_id, gone)
            except StorageError as error:
                log.error("%s: the id %s cannot be noted as handled, trying again: %s", self.listener, event_id, error)
                await asyncio.sleep(backoff.next())

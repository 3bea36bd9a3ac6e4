"""Where an event is stored that is put within a transaction of the application."""

from __future__ import annotations

from typing import Any, Protocol

from evbus_like.engine.event import Event
from evbus_like.engine.sending.serializer import Serializer


class Tables(Protocol):
    """Stores serialized events in the transactions of the application; `serializer` is for those of no profile."""

    serializer: Serializer

    async def store(self, event: Event, within: Any, timeout: float, due: float | None = None) -> None:
        """Store an event with the transaction of a connection, to be sent when it is due, or at once."""

    async def cancel(self, event_id: str, within: Any, timeout: float) -> bool:
        """Delete an event that is not due yet with the transaction of a connection; False if there is none."""

    async def cancel_now(self, event_id: str) -> bool:
        """Delete an event that is not due yet, in the databases of all profiles; False if there is none."""

    def store_now(self, event: Event, within: Any) -> None:
        """Store an event with the transaction of a blocking connection."""

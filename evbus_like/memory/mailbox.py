"""A mailbox: the queue in which in-memory events arrive."""

from __future__ import annotations

import asyncio

from evbus_like.engine.event import Event
from evbus_like.engine.queue import Queue


class Mailbox(Queue[Event]):
    """Takes events and gives bodies, with asyncio.Queue's interface; the `event` verbs give whole events."""

    async def get(self) -> bytes:  # type: ignore[override]
        """Take the oldest body, waiting for one."""
        body: bytes = (await self.get_event()).body
        return body

    def get_nowait(self) -> bytes:  # type: ignore[override]
        """Take the oldest body; raises asyncio.QueueEmpty."""
        body: bytes = self.get_event_nowait().body
        return body

    async def get_event(self) -> Event:
        """Take the oldest event, waiting for one."""
        while True:
            try:
                return self.get_event_nowait()
            except asyncio.QueueEmpty:
                await self.wait_more()

    def get_event_nowait(self) -> Event:
        """Take the oldest event; raises asyncio.QueueEmpty."""
        return super().get_nowait()

    async def put(self, body: bytes | Event) -> None:
        """Append a body, waiting for room."""
        await super().put(body if isinstance(body, Event) else Event("", body, ""))

    def put_nowait(self, body: bytes | Event) -> None:
        """Append a body; raises QueueFull."""
        super().put_nowait(body if isinstance(body, Event) else Event("", body, ""))

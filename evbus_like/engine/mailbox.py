"""A mailbox: the queue that in-memory events arrive in."""

from __future__ import annotations

from evbus_like.engine.event import Event
from evbus_like.engine.queue import Queue


class Mailbox:
    """Bodies in, bodies out, with asyncio.Queue's interface; the whole event, headers and all, with the event verbs.

    `get` and `get_nowait` give the body as bytes; `get_event` and `get_event_nowait` give the Event.
    """

    def __init__(self, maxsize: int, name: str) -> None:
        self.events: Queue[Event] = Queue(maxsize, name)
        self.name = name
        self.qsize, self.empty, self.full = self.events.qsize, self.events.empty, self.events.full
        self.task_done, self.join, self.wait_room = self.events.task_done, self.events.join, self.events.wait_room
        self.put_event = self.events.put_nowait
        self.get_event, self.get_event_nowait = self.events.get, self.events.get_nowait

    @property
    def maxsize(self) -> int:
        """How many events it holds at most."""
        return self.events.maxsize

    @maxsize.setter
    def maxsize(self, value: int) -> None:
        self.events.maxsize = value

    async def get(self) -> bytes:
        """Take the oldest body, waiting for one."""
        body: bytes = (await self.events.get()).body
        return body

    def get_nowait(self) -> bytes:
        """Take the oldest body; raises asyncio.QueueEmpty."""
        body: bytes = self.events.get_nowait().body
        return body

    async def put(self, body: bytes) -> None:
        """Append a body, waiting for room."""
        await self.events.put(Event(self.name, body, ""))

    def put_nowait(self, body: bytes) -> None:
        """Append a body; raises QueueFull."""
        self.events.put_nowait(Event(self.name, body, ""))

    def __repr__(self) -> str:
        return f"<Mailbox {self.name} qsize={self.qsize()} maxsize={self.maxsize}>"

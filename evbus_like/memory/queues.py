"""Queues in memory, and the topic exchanges that fill them as RabbitMQ's do, within one process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from evbus_like.engine.event import Event
from evbus_like.engine.queue import Queue
from evbus_like.memory.delays import Delays

if TYPE_CHECKING:
    from evbus_like.engine.message import Message
    from evbus_like.engine.receiving.subscription import Subscription

MAX_CACHED_ROUTES = 10_000  # routing keys of an exchange


class Mailbox(Queue[Event]):
    """Takes events and gives bodies, with asyncio.Queue's interface; the `event` verbs give whole events."""

    async def get(self) -> bytes:  # type: ignore[override]
        """Take the oldest body, waiting for one."""
        while True:
            try:
                body: bytes = self.get_event_nowait().body
            except asyncio.QueueEmpty:
                await self.wait_more()
            else:
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

    get_event_nowait = Queue.get_nowait  # a call of its own would take 50 ns

    async def put(self, body: bytes | Event) -> None:
        """Append a body, waiting for room."""
        await super().put(body if isinstance(body, Event) else Event("", body, ""))

    def put_nowait(self, body: bytes | Event) -> None:
        """Append a body; raises QueueFull."""
        super().put_nowait(body if isinstance(body, Event) else Event("", body, ""))


class Binding:
    """One queue, the event types that it wants, and the number of feeds that read it."""

    def __init__(self, subscription: Subscription, mailbox: Mailbox) -> None:
        self.wants = subscription.wants
        self.mailbox = mailbox
        self.keeps = subscription.reliable and subscription.expires is None
        self.readers = 0
        self.attempts: dict[Event, int] = {}  # of events that were given before
        self.delays = Delays(mailbox)


class Exchange:
    """The queues that are bound to one exchange; an event that none wants is dropped, as in RabbitMQ."""

    def __init__(self) -> None:
        self.bindings: dict[str, Binding] = {}
        self._routes: dict[str, tuple[Mailbox, ...]] = {}  # by routing key

    def bind(self, subscription: Subscription, mailbox: Callable[[str], Mailbox]) -> Binding:
        """Give the binding of a subscription's queue, a new one if there is none."""
        name = subscription.queue
        if name not in self.bindings:
            self.bindings[name] = Binding(subscription, mailbox(name))
            self._routes.clear()
        binding = self.bindings[name]
        binding.readers += 1
        binding.delays.start()
        return binding

    def leave(self, subscription: Subscription) -> bool:
        """Remove a reader; an unreliable queue is deleted with its last one. Gives whether it was deleted."""
        binding = self.bindings.get(subscription.queue)
        if binding is not None:
            binding.readers -= 1
            if not binding.readers:
                binding.delays.stop()
            if not binding.readers and not binding.keeps:
                del self.bindings[subscription.queue]
                self._routes.clear()
                return True
        return False

    def route(self, routing_key: str) -> tuple[Mailbox, ...]:
        """Give the queues that want a routing key."""
        route = self._routes.get(routing_key)
        if route is None:
            if len(self._routes) >= MAX_CACHED_ROUTES:
                self._routes.clear()
            route = tuple(each.mailbox for each in self.bindings.values() if each.wants(routing_key))
            self._routes[routing_key] = route
        return route

    def put(self, event: Event) -> Mailbox | None:
        """Append an event to every queue that wants it; if one of them is full, to none, and give the full one."""
        route = self.route(event.routing_key)
        for mailbox in route:
            if mailbox.full():
                return mailbox
        for mailbox in route:
            mailbox.put_nowait(event)
        return None


class Queues(Protocol):
    """All queues and exchanges of a process: the ingress plugin `internal`."""

    EXCHANGES: dict[str, Exchange]  # by name
    QUEUE: dict[str, Mailbox]  # by routing key

    def mailbox(self, routing_key: str) -> Mailbox:
        """Return the queue of a routing key, made at the first call."""


class RpcEvent(Event):
    """An event that carries a request or an answer of a call."""

    __slots__ = ("correlation_id", "reply_to")

    def __init__(self, message: Message) -> None:
        super().__init__(message.routing_key, message.body, "", message.headers)
        self.id, self.content_type, self.timestamp = message.id, message.content_type, time.time()
        self.reply_to, self.correlation_id = message.reply_to, message.correlation_id


def put_back(mailbox: Mailbox, events: Sequence[Event]) -> None:
    """Put events at the head of their queue again, in their order, even if it is full."""
    mailbox.items.extendleft(reversed(events))
    mailbox.wake()

"""Exchanges in memory: RabbitMQ's topic exchanges and their queues, within one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from evbus_like.engine.event import Event
from evbus_like.engine.message import Message
from evbus_like.engine.receiving.subscription import Subscription
from evbus_like.memory.mailbox import Mailbox


class Binding:
    """One queue, the event types that it wants, and the number of feeds that read it."""

    def __init__(self, subscription: Subscription, mailbox: Mailbox) -> None:
        self.wants = subscription.wants
        self.mailbox = mailbox
        self.keeps = subscription.reliable and subscription.expires is None
        self.readers = 0
        self.attempts: dict[str, int] = {}  # of requeued events, by id


class Exchange:
    """The queues that are bound to one exchange; an event that none wants is dropped, as in RabbitMQ."""

    def __init__(self) -> None:
        self.bindings: dict[str, Binding] = {}

    def bind(self, subscription: Subscription, mailbox: Callable[[str], Mailbox]) -> Binding:
        """Give the binding of a subscription's queue, a new one if there is none."""
        name = subscription.queue
        if name not in self.bindings:
            self.bindings[name] = Binding(subscription, mailbox(name))
        self.bindings[name].readers += 1
        return self.bindings[name]

    def leave(self, subscription: Subscription) -> bool:
        """Remove a reader; an unreliable queue is deleted with its last one. Gives whether it was deleted."""
        binding = self.bindings.get(subscription.queue)
        if binding is not None:
            binding.readers -= 1
            if not binding.readers and not binding.keeps:
                del self.bindings[subscription.queue]
                return True
        return False

    def put(self, event: Event) -> Mailbox | None:
        """Append an event to every queue that wants it; if one of them is full, to none, and give the full one."""
        wanting = [binding.mailbox for binding in self.bindings.values() if binding.wants(event.routing_key)]
        for mailbox in wanting:
            if mailbox.full():
                return mailbox
        for mailbox in wanting:
            mailbox.put_nowait(event)
        return None


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

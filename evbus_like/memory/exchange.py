"""An exchange in memory: what a topic exchange and its queues are in RabbitMQ, within one process."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from evbus_like.engine.event import Event
from evbus_like.engine.receiving.subscription import Subscription
from evbus_like.memory.mailbox import Mailbox


class Binding:
    """One queue, the event types that it takes, and the feeds that read it."""

    def __init__(self, subscription: Subscription, mailbox: Mailbox) -> None:
        self.wants = subscription.wants
        self.mailbox = mailbox
        self.keeps = subscription.reliable and subscription.expires is None
        self.readers = 0
        self.tries: dict[str, int] = {}  # handlings so far of events that were given back, by their ids


class Exchange:
    """The queues that want events of one source service; an event that none wants is gone, as in RabbitMQ."""

    def __init__(self) -> None:
        self.bindings: dict[str, Binding] = {}

    def bind(self, subscription: Subscription, mailbox: Callable[[str], Mailbox]) -> Binding:
        """Give the binding of a subscription's queue, a new one where there is none."""
        name = subscription.queue
        if name not in self.bindings:
            self.bindings[name] = Binding(subscription, mailbox(name))
        self.bindings[name].readers += 1
        return self.bindings[name]

    def leave(self, subscription: Subscription) -> bool:
        """Note that a reader has gone; a queue that is not reliable goes with its last one. Whether it went."""
        binding = self.bindings.get(subscription.queue)
        if binding is not None:
            binding.readers -= 1
            if not binding.readers and not binding.keeps:
                del self.bindings[subscription.queue]
                return True
        return False

    def put(self, event: Event) -> Mailbox | None:
        """Append an event to every queue that wants it; where one is full, to none, and gives that one."""
        wanting = [binding.mailbox for binding in self.bindings.values() if binding.wants(event.routing_key)]
        for mailbox in wanting:
            if mailbox.full():
                return mailbox
        for mailbox in wanting:
            mailbox.put_nowait(event)
        return None


def give_back(mailbox: Mailbox, events: Sequence[Event]) -> None:
    """Put events first in their queue again, in their order, whatever room there is."""
    mailbox.items.extendleft(reversed(events))
    mailbox.wake()

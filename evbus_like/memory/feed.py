"""What one handler reads in memory: its queue of an exchange, and what it took from there and has not settled."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from evbus_like.engine.errors import DestinationRefused, TransientError
from evbus_like.engine.event import Event
from evbus_like.engine.message import Message, Unroutable
from evbus_like.engine.receiving.received import ReceivedEvent, dead_letter_headers
from evbus_like.engine.receiving.subscription import Subscription
from evbus_like.memory.exchange import Exchange, give_back


class MemoryFeed:
    """The feed of one subscription; `internal` is the ingress plugin, whose queues it reads."""

    def __init__(self, internal: Any, subscription: Subscription) -> None:
        self.subscription = subscription
        self._internal = internal
        self._exchange = internal.EXCHANGES.setdefault(subscription.exchange, Exchange())
        self._binding = self._exchange.bind(subscription, lambda name: internal.mailbox(name))
        self._taken: dict[ReceivedEvent, Event] = {}
        if subscription.exclusive and self._binding.readers > 1:
            self._exchange.leave(subscription)  # the other reader stays
            raise DestinationRefused(f"the queue {subscription.queue!r} is another instance's alone")

    async def receive(self) -> list[ReceivedEvent]:
        """Take what waits, as much as the subscription lets."""
        mailbox = self._binding.mailbox
        while not (events := mailbox.take(self.subscription.prefetch)):
            await mailbox.wait_filled()
        mailbox.task_done(len(events))
        return [self._received(event) for event in events]

    def _received(self, event: Event) -> ReceivedEvent:
        tries = self._binding.tries.get(event.id)
        made = ReceivedEvent(
            event.body,
            event.routing_key,
            self.subscription.source,
            event.id,
            event.headers,
            event.content_type,
            event.timestamp,
            redelivered=tries is not None,
            attempt=(tries or 0) + 1,
            token=event,
        )
        if isinstance(event.receipt, Message):  # see `send`
            made.reply_to, made.correlation_id = event.receipt.reply_to, event.receipt.correlation_id
        self._taken[made] = event
        return made

    def ack(self, events: Iterable[ReceivedEvent]) -> None:
        """Forget events."""
        for event in events:
            self._forget(event)

    def _forget(self, event: ReceivedEvent) -> None:
        self._binding.tries.pop(event.id, None)
        self._taken.pop(event, None)

    def requeue(self, event: ReceivedEvent) -> None:
        """Put an event first in its queue again."""
        if (given := self._taken.pop(event, None)) is not None:
            self._binding.tries[event.id] = event.attempt
            give_back(self._binding.mailbox, [given])

    def dead(self, event: ReceivedEvent, reason: str) -> None:
        """Put an event to the queue of dead letters; raises QueueFull where that is full."""
        letter = event.token.copy()
        letter.headers = {**(letter.headers or {}), **dead_letter_headers(event, self.subscription.queue, reason)}
        self._internal.mailbox(self.subscription.dead).put_nowait(letter)
        self._forget(event)

    def end(self) -> None:
        """Give back what is not settled, in its order."""
        for event in self._taken:
            self._binding.tries[event.id] = event.attempt - 1  # this handling is not done, or has not begun
        give_back(self._binding.mailbox, list(self._taken.values()))
        self._taken.clear()
        if self._exchange.leave(self.subscription):  # the queue has gone, and with it what is in it
            self._internal.QUEUE.pop(self.subscription.queue, None)


def send(internal: Any, letters: Sequence[Message]) -> None:
    """Put letters to the queues of their exchange that want them."""
    for letter in letters:
        letter.settle(_sent(internal, letter))


def _sent(internal: Any, letter: Message) -> Exception | None:
    exchange = internal.EXCHANGES.get(letter.exchange)
    event = Event(letter.routing_key, letter.body, "", letter.headers)
    event.id, event.content_type, event.timestamp = letter.id, letter.content_type, time.time()
    event.receipt = letter  # type: ignore[assignment]  # what it is for: a request, or its answer
    if exchange is None or not any(each.wants(event.routing_key) for each in exchange.bindings.values()):
        return Unroutable(letter.routing_key) if letter.must_arrive else None
    full = exchange.put(event)
    return TransientError(f"{full.name} is full ({full.maxsize} events)") if full is not None else None

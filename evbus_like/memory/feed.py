"""The feed of one handler in memory: its queue of an exchange, and the events that are not settled yet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from evbus_like.engine import dead_letter_headers
from evbus_like.engine.errors import DestinationRefused, TransientError, Unroutable
from evbus_like.engine.event import Event, readable
from evbus_like.engine.message import Message
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.receiving.subscription import Subscription
from evbus_like.memory.queues import Exchange, Queues, RpcEvent, put_back


class MemoryFeed:
    """The feed of one subscription; `internal` is the ingress plugin that has the queues."""

    def __init__(self, internal: Queues, subscription: Subscription) -> None:
        self.subscription = subscription
        self._internal = internal
        self._exchange = internal.EXCHANGES.setdefault(subscription.exchange, Exchange())
        self._binding = self._exchange.bind(subscription, internal.mailbox)
        self._taken: dict[ReceivedEvent, Event] = {}
        if subscription.exclusive and self._binding.readers > 1:
            self._exchange.leave(subscription)  # the other reader stays
            raise DestinationRefused(f"another instance reads the exclusive queue {subscription.queue!r}")

    @property
    def lag(self) -> int:
        """How many events are in its queue, or taken and not settled."""
        return len(self._binding.mailbox.items) + len(self._taken)

    async def receive(self) -> list[ReceivedEvent]:
        """Wait for events and take as many as the prefetch of the subscription."""
        mailbox = self._binding.mailbox
        while not (events := mailbox.take(self.subscription.prefetch)):
            await mailbox.wait_filled()
        mailbox.task_done(len(events))
        return [self._received(event) for event in events]

    def _received(self, event: Event) -> ReceivedEvent:
        attempts = self._binding.attempts.get(event)
        made = ReceivedEvent(
            event.body,
            event.routing_key,
            self.subscription.source,
            event.id,
            event.headers,
            event.content_type,
            event.timestamp,
            redelivered=attempts is not None,
            attempt=(attempts or 0) + 1,
            token=event,
            key=readable(event.key),
        )
        if self.subscription.shards:
            made.order = made.key or made.routing_key
        if isinstance(event, RpcEvent):
            made.reply_to, made.correlation_id = event.reply_to, event.correlation_id
        self._taken[made] = event
        return made

    def ack(self, events: Iterable[ReceivedEvent]) -> None:
        """Settle events that were handled."""
        for event in events:
            self._forget(event)

    def _forget(self, event: ReceivedEvent) -> None:
        self._binding.attempts.pop(event.token, None)
        self._taken.pop(event, None)

    def requeue(self, event: ReceivedEvent) -> None:
        """Put an event at the head of its queue again."""
        if (given := self._taken.pop(event, None)) is not None:
            self._binding.attempts[given] = event.attempt
            put_back(self._binding.mailbox, [given])

    def retry(self, event: ReceivedEvent, delay: float) -> None:
        """Put an event at the end of its queue after a delay; raises QueueFull if too many wait for that."""
        if (given := self._taken.get(event)) is not None:
            self._binding.delays.add(given, delay)
            self._binding.attempts[given] = event.attempt
            del self._taken[event]

    def dead(self, event: ReceivedEvent, reason: str) -> None:
        """Move an event to the queue of dead letters; raises QueueFull if that is full."""
        letter = event.token.copy()
        letter.headers = {
            **(letter.headers or {}),
            **dead_letter_headers.unhandled(event, self.subscription.queue, reason),
        }
        self._internal.mailbox(self.subscription.dead).put_nowait(letter)
        self._forget(event)

    def end(self) -> None:
        """Put unsettled events back, in their order."""
        for event, given in self._taken.items():
            self._binding.attempts[given] = event.attempt - 1  # this attempt was not finished
        put_back(self._binding.mailbox, list(self._taken.values()))
        self._taken.clear()
        if self._exchange.leave(self.subscription):  # the queue is deleted with its events
            self._internal.QUEUE.pop(self.subscription.queue, None)


def send(internal: Queues, messages: Sequence[Message]) -> None:
    """Put messages to the queues of their exchange that want them, and settle each."""
    for message in messages:
        message.settle(_failure(internal, message))


def _failure(internal: Queues, message: Message) -> Exception | None:
    """Send a message; gives what went wrong, or None."""
    exchange = internal.EXCHANGES.get(message.exchange)
    if exchange is None or not exchange.route(message.routing_key):
        return Unroutable(message.routing_key) if message.must_arrive else None
    full = exchange.put(RpcEvent(message))
    return TransientError(f"{full.name} is full ({full.maxsize} events)") if full is not None else None

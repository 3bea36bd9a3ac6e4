"""Copies of received events: delayed retries, and dead letters."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from time import monotonic
from typing import Any

from evbus_like.amqp import failures, topology
from evbus_like.amqp.codec import content_frames, publish_method
from evbus_like.amqp.confirms import SharedConfirmChannel
from evbus_like.amqp.connection import SharedConnection
from evbus_like.amqp.deliveries import ATTEMPT, COUNT, DEATHS, OWN, ROUTING_KEY
from evbus_like.amqp.properties import Properties
from evbus_like.engine import dead_letter_headers
from evbus_like.engine.errors import DeliveryError, DestinationRefused, Unroutable
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.receiving.subscription import Subscription

SHORTEST, LONGEST = 100, 2_000_000_000  # milliseconds
# A queue expires so long after its delay, with its messages: RabbitMQ counts a declaration as a use, not a publish.
LEASE = 600_000  # milliseconds
RENEW = 60.0  # seconds until it is declared again before a copy is sent
NOT_COPIED = frozenset({"CC", "BCC"})  # headers that would route the copy to other queues, too


class Copy:
    """One copy on its way; `done` gets RabbitMQ's answer."""

    id = ""  # copies may share a message id

    def __init__(self, properties: bytes, body: bytes) -> None:
        self.properties = properties
        self.body = body
        self.returned: tuple[str, str] | None = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def lost(self, error: Exception) -> None:
        """Handle a lost confirm."""
        self.settle(error)

    def settle(self, error: Exception | None) -> None:
        """Take RabbitMQ's answer."""
        if self.done.done():
            return
        if error is None and self.returned is not None:
            exchange, routing_key = self.returned
            where = f"exchange {exchange!r}" if exchange else "the default exchange"
            error = Unroutable(f"no queue is bound to {where} for routing key {routing_key!r}, so RabbitMQ returned it")
        if error is not None:
            self.done.set_exception(error)
        else:
            self.done.set_result(None)


class Republisher:
    """Publishes copies, one at a time for each caller."""

    def __init__(self, connection: SharedConnection) -> None:
        self.connection = connection
        self._channel = SharedConfirmChannel(connection)

    async def send(self, exchange: str, routing_key: str, properties: bytes, body: bytes) -> None:
        """Publish a copy and return once RabbitMQ has it; raises Unroutable and other DeliveryErrors."""
        confirmed = await self._channel.get()
        copy, method = Copy(properties, body), publish_method(exchange, routing_key, True)
        channel = confirmed.channel
        await confirmed.write([copy], content_frames(channel.number, channel.max_body, method, properties, body))
        await copy.done

    async def declare_queue(
        self, name: str, advice: str, arguments: Mapping[str, Any] | None = None, passive: bool = False
    ) -> None:
        """Declare a queue on a channel of its own, because a refusal closes the channel; raises a DeliveryError."""
        try:
            async with self.connection.channel() as channel:
                await topology.declare_queue(channel, name, arguments, passive=passive)
                await channel.close()
        except Exception as error:
            place = self.connection.target.place
            raise failures.declaring(error, place, f"the queue {name!r}", advice) from error

    async def close(self) -> None:
        """Close the connection; copies without a confirm fail."""
        await self._channel.close()


class DelayedRetry:
    """Sends copies to queues of delays, whose messages expire back into the handler's own queue.

    The handler's queue stays as nameko declares it. There is one queue for each of a few delays (1, 2, 5, 10, 20, 50,
    ... tenths of a second), and each is deleted when it is unused for a while.
    """

    def __init__(self, republisher: Republisher) -> None:
        self._republisher = republisher
        self._declared: dict[str, float] = {}  # until when
        self._declaring = asyncio.Lock()  # so that a hundred retries at once do not open a hundred channels

    async def send(self, event: ReceivedEvent, subscription: Subscription, delay: float) -> None:
        """Return once the copy is safe; it arrives after `delay` seconds, rounded up to a step.

        Raises DeliveryError.
        """
        milliseconds = step(delay)
        queue = f"{subscription.queue}.retry.{milliseconds}"
        properties = copied_properties(event, {ATTEMPT: event.attempt + 1, ROUTING_KEY: event.routing_key})
        await self._declare(queue, milliseconds, subscription)
        try:
            await self._republisher.send("", queue, properties, event.raw)
        except Unroutable:  # the queue was deleted
            self._declared.pop(queue, None)
            await self._declare(queue, milliseconds, subscription)
            await self._republisher.send("", queue, properties, event.raw)

    async def _declare(self, queue: str, milliseconds: int, subscription: Subscription) -> None:
        async with self._declaring:
            now = monotonic()
            if self._declared.get(queue, 0.0) > now:
                return
            advice = f"Delete it, and it is declared anew: rabbitmqctl delete_queue {queue!r}"
            await self._republisher.declare_queue(queue, advice, delay_arguments(subscription, milliseconds))
            self._declared = {name: until for name, until in self._declared.items() if until > now}
            self._declared[queue] = now + RENEW


class DeadLetters:
    """Sends copies to the queues of dead letters, or to the exchange for them that the profile names."""

    def __init__(self, republisher: Republisher, exchange: str = "", quorum: bool = False) -> None:
        self._republisher = republisher
        self._exchange = exchange
        self._quorum = quorum
        self._declared: set[str] = set()
        self._declaring = asyncio.Lock()

    async def send(self, event: ReceivedEvent, subscription: Subscription, reason: str) -> None:
        """Return once the copy is safe, its reason in its headers; raises a DeliveryError."""
        properties = copied_properties(event, dead_letter_headers.unhandled(event, subscription.queue, reason))
        if self._exchange:
            await self._to_exchange(event, subscription, properties)
            return
        queue = subscription.dead
        await self._declare(queue)
        try:
            await self._republisher.send("", queue, properties, event.raw)
        except Unroutable:  # the queue was deleted
            self._declared.discard(queue)
            await self._declare(queue)
            await self._republisher.send("", queue, properties, event.raw)

    async def _to_exchange(self, event: ReceivedEvent, subscription: Subscription, properties: bytes) -> None:
        try:
            await self._republisher.send(self._exchange, subscription.queue, properties, event.raw)
        except Unroutable as error:
            raise DestinationRefused(
                f"dead letters of {subscription.queue!r} have no queue: {error}. Bind a queue to the exchange"
                f" {self._exchange!r} (the profile's dead_letter_exchange), with that routing key or with #"
            ) from error

    async def _declare(self, queue: str) -> None:
        """Declare the queue as durable, unless it exists; its owner may have declared it otherwise."""
        advice = f"Create it, durable: rabbitmqadmin declare queue name={queue!r} durable=true"
        async with self._declaring:
            if queue in self._declared:
                return
            try:
                await self._republisher.declare_queue(queue, advice, passive=True)
            except DeliveryError as error:
                if "NOT_FOUND" not in str(error):
                    raise
                arguments = {"x-queue-type": "quorum"} if self._quorum else None
                await self._republisher.declare_queue(queue, advice, arguments)
            self._declared.add(queue)


def step(delay: float) -> int:
    """Round a delay in seconds up to a step, in milliseconds."""
    unit = SHORTEST
    while unit < LONGEST:
        for factor in (1, 2, 5):
            if delay * 1000 <= unit * factor:
                return min(unit * factor, LONGEST)
        unit *= 10
    return LONGEST


def delay_arguments(subscription: Subscription, milliseconds: int) -> dict[str, Any]:
    """Return the arguments of a queue of a delay: its messages expire into the subscription's queue."""
    return {
        "x-message-ttl": milliseconds,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": subscription.queue,
        "x-expires": milliseconds + LEASE,
    }


def copied_properties(event: ReceivedEvent, added: Mapping[str, Any]) -> bytes:
    """Return the properties of an event's copy: as they arrived, without headers that RabbitMQ or a retry added."""
    properties = Properties(event.token.properties)
    gone = {name for name in properties.headers if name == COUNT or name.startswith(DEATHS)}
    return properties.copy(gone | NOT_COPIED | OWN, added)

"""A receiver: what all handlers of one profile share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evbus_like.amqp import feed
from evbus_like.amqp.bindings import Bindings
from evbus_like.amqp.deliveries import times_returned
from evbus_like.amqp.failures import NoLeader
from evbus_like.amqp.feed import Feed
from evbus_like.amqp.hosts import Hosts
from evbus_like.amqp.messages import MessageSender
from evbus_like.amqp.redelivery import MOST_RETURNS, DeadLetters, DelayedRetry, Republisher
from evbus_like.amqp.settings import client_properties, targets
from evbus_like.amqp.shared_connection import SharedConnection
from evbus_like.engine.errors import PoisonEvent
from evbus_like.engine.message import Message
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.receiving.source import Inspection
from evbus_like.engine.receiving.subscription import Subscription


class Receiver:
    """One connection for the handlers' channels, and another for retries, dead letters, requests and answers."""

    def __init__(self, acct: Mapping[str, Any]) -> None:
        hosts, properties = Hosts(targets(acct)), client_properties(acct)
        self._acct = acct
        self._leaderless: set[str] = set()  # names of queues
        self._incoming = SharedConnection(hosts, properties)
        self._bindings = Bindings(self._incoming, acct)
        outgoing = SharedConnection(hosts, properties)
        self._republisher = Republisher(outgoing)
        self._messages = MessageSender(outgoing)
        self._delayed_retry = DelayedRetry(self._republisher)
        exchange, quorum = acct.get("dead_letter_exchange") or "", bool(acct.get("quorum"))
        self._dead_letters = DeadLetters(self._republisher, exchange, quorum)

    async def subscribe(self, subscription: Subscription) -> Feed:
        """Start to read a subscription's queue; raises a DeliveryError.

        RabbitMQ closes a whole connection that asks for a quorum queue without a leader. Such a queue is asked for on a
        connection of its own, so that the other handlers go on.
        """
        queue = subscription.queue
        own = self._incoming.another() if queue in self._leaderless else None
        try:
            made = await feed.subscribe(own or self._incoming, self._acct, subscription)
        except BaseException as error:
            if isinstance(error, NoLeader):
                self._leaderless.add(queue)
            if own is not None:
                await own.close()
            raise
        made.own_connection = own
        self._leaderless.discard(queue)
        self._bindings.keep(made)
        return made

    async def inspect(self, subscription: Subscription) -> Inspection:
        """Look at what RabbitMQ has of a subscription; raises a DeliveryError."""
        from evbus_like.amqp import inspection  # only `evbus check` needs it

        return await inspection.inspect(self._incoming, self._acct, subscription)

    async def requeue(self, to: Feed, event: ReceivedEvent) -> None:
        """Return an event to its queue: as a copy, soon, before RabbitMQ drops it for the times that it was given.

        Raises a DeliveryError.
        """
        if times_returned(event) < MOST_RETURNS:
            to.requeue(event)
        else:
            await self.retry(to, event, 0.0)

    async def retry(self, to: Feed, event: ReceivedEvent, delay: float) -> None:
        """Deliver an event again after `delay` seconds; one that cannot be copied whole is dead-lettered.

        Raises a DeliveryError.
        """
        try:
            await self._delayed_retry.send(event, to.subscription, delay)
        except PoisonEvent as error:
            await self._dead_letters.send(event, to.subscription, f"it failed and cannot be retried: {error}")
        to.ack([event])

    async def dead(self, to: Feed, event: ReceivedEvent, reason: str) -> None:
        """Dead-letter an event; raises a DeliveryError."""
        await self._dead_letters.send(event, to.subscription, reason)
        to.ack([event])

    async def send(self, messages: Sequence[Message]) -> None:
        """Send requests and answers of calls; raises a DeliveryError if none was sent."""
        await self._messages.send(messages)

    async def close(self) -> None:
        """Close both connections."""
        await self._bindings.close()
        await self._messages.close()
        await self._republisher.close()
        await self._incoming.close()

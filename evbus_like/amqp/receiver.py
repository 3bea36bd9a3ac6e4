"""A receiver: what all handlers of one profile share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from evbus_like.amqp import failures, feed, shards
from evbus_like.amqp.bindings import Bindings
from evbus_like.amqp.deliveries import times_returned
from evbus_like.amqp.failures import NoLeader
from evbus_like.amqp.feed import Feed
from evbus_like.amqp.hosts import Hosts
from evbus_like.amqp.members import Members
from evbus_like.amqp.messages import MessageSender
from evbus_like.amqp.redelivery import MOST_RETURNS, DeadLetters, DelayedRetry, Republisher
from evbus_like.amqp.settings import client_properties, targets
from evbus_like.amqp.sharded_feed import ShardedFeed
from evbus_like.amqp.shared_connection import SharedConnection
from evbus_like.engine.errors import DestinationRefused, PoisonEvent
from evbus_like.engine.message import Message
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.receiving.source import Inspection
from evbus_like.engine.receiving.subscription import Subscription

if TYPE_CHECKING:
    from evbus_like.amqp.look import DeadLetterLook


# Handlers that subscribe at the same time. A thousand at once would all wait for the broker's answer until the deadline
# of each, and a handler whose channel it does not close in time cuts the connection of all: none would ever be done.
SUBSCRIBE_AT_ONCE = 20


class Receiver:
    """One connection for the handlers' channels, and another for retries, dead letters, requests and answers."""

    def __init__(self, acct: Mapping[str, Any]) -> None:
        hosts, properties = Hosts(targets(acct)), client_properties(acct)
        self._acct = acct
        self._leaderless: set[str] = set()  # names of queues
        self._incoming = SharedConnection(hosts, properties)
        self._subscribing = asyncio.Semaphore(SUBSCRIBE_AT_ONCE)
        self._bindings = Bindings(self._incoming, acct)
        outgoing = SharedConnection(hosts, properties)
        self._republisher = Republisher(outgoing)
        self._messages = MessageSender(outgoing)
        self._announcements = MessageSender(outgoing)
        self._delayed_retry = DelayedRetry(self._republisher)
        exchange, quorum = acct.get("dead_letter_exchange") or "", bool(acct.get("quorum"))
        self._dead_letters = DeadLetters(self._republisher, exchange, quorum)

    async def subscribe(self, subscription: Subscription) -> Feed | ShardedFeed:
        """Start to read a subscription's queue; raises a DeliveryError.

        RabbitMQ closes a whole connection that asks for a quorum queue without a leader. Such a queue is asked for on a
        connection of its own, so that the other handlers go on.
        """
        made: Feed | ShardedFeed
        if subscription.shards:
            made = await self._subscribe_to_shards(subscription)
        else:
            reading = await self._read(subscription.queue, lambda at: feed.subscribe(at, self._acct, subscription))
            assert reading is not None
            made = reading
        self._bindings.keep(made)
        return made

    async def _read(self, queue: str, begin: Callable[[SharedConnection], Awaitable[Feed | None]]) -> Feed | None:
        own = self._incoming.another() if queue in self._leaderless else None
        try:
            async with self._subscribing if own is None else nullcontext():
                made = await begin(own or self._incoming)
        except BaseException as error:
            if isinstance(error, NoLeader):
                self._leaderless.add(queue)
            if own is not None:
                await own.close()
            raise
        if made is not None:
            made.own_connection = own
            self._leaderless.discard(queue)
        elif own is not None:
            await own.close()
        return made

    async def _subscribe_to_shards(self, subscription: Subscription) -> ShardedFeed:
        try:
            known = await shards.declare(self._incoming, self._acct, subscription)
        except Exception as error:
            what = f"the shards of the queue {subscription.queue!r}"
            raise failures.declaring(error, self._incoming.place, what, "Start again") from error

        async def read(number: int, wake: Callable[[], None]) -> Feed | None:
            shard = shards.shard(subscription, number)
            return await self._read(shard.queue, lambda at: feed.take_shard(at, shard, wake))

        members = Members(self._incoming, self._announcements, subscription.queue, known)
        made = ShardedFeed(subscription, known, read, members)
        try:
            await made.start()
        except BaseException:
            await made.end()
            raise
        return made

    async def inspect(self, subscription: Subscription) -> Inspection:
        """Look at what RabbitMQ has of a subscription; raises a DeliveryError."""
        from evbus_like.amqp import inspection  # only `evbus check` needs it

        return await inspection.inspect(self._incoming, self._acct, subscription, self._announcements)

    async def dead_letters(self, subscription: Subscription) -> DeadLetterLook | None:
        """Begin to look at a subscription's dead letters; raises a DeliveryError."""
        from evbus_like.amqp import look  # only `evbus dead` needs it

        if exchange := self._acct.get("dead_letter_exchange"):
            raise DestinationRefused(
                f"they go to the exchange {exchange!r} (the profile's dead_letter_exchange), and AMQP does not say"
                " which queues are bound to it: see `rabbitmqctl list_bindings`"
            )
        return await look.begin(self._incoming, self._republisher, subscription)

    async def requeue(self, to: Feed | ShardedFeed, event: ReceivedEvent) -> None:
        """Return an event to its queue: as a copy, soon, before RabbitMQ drops it for the times that it was given.

        Raises a DeliveryError.
        """
        if isinstance(to, Feed) and times_returned(event) < MOST_RETURNS:
            to.requeue(event)  # events of shards are requeued in this process
        else:
            await self.retry(to, event, 0.0)

    async def retry(self, to: Feed | ShardedFeed, event: ReceivedEvent, delay: float) -> None:
        """Deliver an event again after `delay` seconds; one that cannot be copied whole is dead-lettered.

        Raises a DeliveryError.
        """
        try:
            await self._delayed_retry.send(event, to.subscription, delay)
        except PoisonEvent as error:
            await self._dead_letters.send(event, to.subscription, f"it failed and cannot be retried: {error}")
        to.ack([event])

    async def dead(self, to: Feed | ShardedFeed, event: ReceivedEvent, reason: str) -> None:
        """Dead-letter an event; raises a DeliveryError."""
        await self._dead_letters.send(event, to.subscription, reason)
        to.ack([event])

    async def send(self, messages: Sequence[Message]) -> None:
        """Send requests and answers of calls; raises a DeliveryError if none was sent."""
        await self._messages.send(messages)

    async def close(self) -> None:
        """Close both connections."""
        await self._bindings.close()
        await self._announcements.close()
        await self._messages.close()
        await self._republisher.close()
        await self._incoming.close()

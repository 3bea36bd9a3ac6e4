"""Dead letters: a copy in a queue of its own, with the reason in its headers, its body byte for byte."""

from __future__ import annotations

from evbus_like.amqp import methods, refusals
from evbus_like.amqp.copies import Copies
from evbus_like.amqp.later import copied
from evbus_like.engine import dead_letter_headers
from evbus_like.engine.errors import DestinationRefused, Unroutable
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.receiving.subscription import Subscription


class Dead:
    """Sends copies to the queues of dead letters, or to the exchange for them that the profile names."""

    def __init__(self, copies: Copies, exchange: str = "", quorum: bool = False) -> None:
        self._copies = copies
        self._exchange = exchange
        self._quorum = quorum
        self._there: set[str] = set()

    async def send(self, event: ReceivedEvent, subscription: Subscription, reason: str) -> None:
        """Return when the copy is safe; raises a DeliveryError."""
        properties = copied(event, dead_letter_headers.unhandled(event, subscription.queue, reason))
        if self._exchange:
            await self._to_exchange(event, subscription, properties)
            return
        queue = subscription.dead
        if queue not in self._there:
            await self._declare(queue)
        try:
            await self._copies.send("", queue, properties, event.raw)
        except Unroutable:  # somebody has deleted the queue
            await self._declare(queue)
            await self._copies.send("", queue, properties, event.raw)

    async def _to_exchange(self, event: ReceivedEvent, subscription: Subscription, properties: bytes) -> None:
        try:
            await self._copies.send(self._exchange, subscription.queue, properties, event.raw)
        except Unroutable as error:
            raise DestinationRefused(
                f"dead letters of {subscription.queue!r} have no place: {error}. Bind a queue to the exchange"
                f" {self._exchange!r} (the profile's dead_letter_exchange), with that routing key or with #"
            ) from error

    async def _declare(self, queue: str) -> None:
        """Make the queue durable, unless there is one; how it is made otherwise is its owner's affair."""
        link, place = self._copies.link, self._copies.link.target.place
        advice = f"Create it, durable: rabbitmqadmin declare queue name={queue!r} durable=true"
        try:
            async with link.channel() as (line, channel):
                await methods.declare_queue(channel, queue, passive=True)
                await link.close_channel(line, channel)
        except Exception as error:
            if "NOT_FOUND" not in refusals.words(error):
                raise refusals.declaring(error, place, f"the queue {queue!r}", advice) from error
            try:
                async with link.channel() as (line, channel):
                    arguments = {"x-queue-type": "quorum"} if self._quorum else None
                    await methods.declare_queue(channel, queue, arguments=arguments)
                    await link.close_channel(line, channel)
            except Exception as failure:
                raise refusals.declaring(failure, place, f"the queue {queue!r}", advice) from failure
        self._there.add(queue)

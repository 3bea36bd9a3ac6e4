"""A feed: one channel that reads one queue, for one handler."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping
from struct import Struct
from typing import Any

from aiormq.abc import ChannelFrame

from evbus_like.amqp import methods, queues, refusals
from evbus_like.amqp.arrival import received
from evbus_like.amqp.deliveries import Deliveries, Delivery
from evbus_like.amqp.link import Line, Link
from evbus_like.engine.errors import TransientError
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.receiving.subscription import Subscription

_ack = Struct(">BHIHHQBB").pack  # a frame: type, channel, size; class, method; tag, multiple; end
END = 0xCE


class Feed:
    """What was delivered and not taken, and what was delivered and not settled."""

    def __init__(self, link: Link, line: Line, channel: Any, subscription: Subscription) -> None:
        self.subscription = subscription
        self._link = link
        self._line = line
        self._channel = channel
        self._arrived: deque[Delivery] = deque()
        self._unsettled: dict[int, None] = {}  # delivery tags, in their order
        self._trouble: TransientError | None = None
        self._waiting: asyncio.Future[None] | None = None
        self._tapped = False

    async def begin(self) -> None:
        """Have RabbitMQ send, at most as many at once as the subscription's prefetch; raises a DeliveryError."""
        channel, queue = self._channel, self.subscription.queue
        self._line.lost.add(self.lost)
        channel.closing.add_done_callback(self._closed)
        channel.on_consumer_cancel_callbacks.add(self._cancelled)
        self._tapped = self._link.tap(self._line, channel, Deliveries(self._take))
        place = self._link.target.place
        try:
            await channel.basic_qos(prefetch_count=min(self.subscription.prefetch, queues.MOST_PREFETCH))
            await methods.consume(channel, queue, self._take_plain)
        except Exception as error:
            raise refusals.declaring(error, place, f"to give events of the queue {queue!r}", "Start again") from error

    def _take(self, delivery: Delivery) -> None:
        self._unsettled[delivery.tag] = None
        self._arrived.append(delivery)
        self._wake()

    def _take_plain(self, message: Any) -> None:
        """Take a message from aiormq, where its channel is not tapped."""
        delivery, properties = message.delivery, message.header.properties
        flags_and_parts = message.header.marshal()[12:]
        self._take(
            Delivery(
                delivery.delivery_tag,
                bool(delivery.redelivered),
                delivery.exchange or "",
                delivery.routing_key or "",
                flags_and_parts if properties else b"\0\0",
                message.body,
            )
        )

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def lost(self, error: BaseException | None) -> None:
        """Note that RabbitMQ takes no more acks here and sends no more; `receive` raises from now on."""
        if self._trouble is None:
            self._trouble = refusals.lost(error, self._link.target.place)
            self._wake()

    def _closed(self, closing: asyncio.Future[Any]) -> None:
        self.lost(None if closing.cancelled() else closing.exception())

    def _cancelled(self, _frame: Any) -> None:
        self.lost(ConnectionError(f"the queue {self.subscription.queue!r} was deleted, or its node is gone"))

    async def receive(self) -> list[ReceivedEvent]:
        """Wait for events; nothing is lost if this is cancelled."""
        while True:
            if self._trouble is not None:
                raise self._trouble
            if self._arrived:
                break
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        subscription = self.subscription
        events = [received(delivery, subscription) for delivery in self._arrived]
        self._arrived.clear()
        return events

    async def ack(self, events: Iterable[ReceivedEvent]) -> None:
        """Acknowledge events, in one write; raises TransientError where the channel is gone."""
        self._check()
        unsettled = self._unsettled
        tags = [event.token.tag for event in events if event.token.tag in unsettled]
        for tag in tags:
            del unsettled[tag]
        try:
            await self._send_acks(tags)
        except BaseException:  # RabbitMQ may not know of them, and only a new channel makes that sure
            self.lost(ConnectionError("it takes no acks"))
            raise

    async def _send_acks(self, tags: list[int]) -> None:
        if not self._tapped:
            for tag in tags:
                await self._channel.basic_ack(tag, wait=False)
            return
        number, oldest = self._channel.number, next(iter(self._unsettled), None)
        below = tags if oldest is None else [tag for tag in tags if tag < oldest]
        frames = [_ack(1, number, 13, 60, 80, tag, 0, END) for tag in tags if oldest is not None and tag > oldest]
        if below:  # all up to the highest of them are settled: one frame for all
            frames.append(_ack(1, number, 13, 60, 80, max(below), 1, END))
        if frames:
            await self._channel.write_queue.put(ChannelFrame(b"".join(frames), should_close=False, drain_future=None))

    async def requeue(self, event: ReceivedEvent) -> None:
        """Give an event back to its queue."""
        self._check()
        if self._unsettled.pop(event.token.tag, self) is None:
            await self._channel.basic_nack(event.token.tag, requeue=True)

    def _check(self) -> None:
        if self._trouble is not None:
            raise self._trouble

    async def end(self) -> None:
        """Close the channel: what is not settled goes back to the queue, in its place."""
        self._line.lost.discard(self.lost)
        if self._trouble is None:
            self._trouble = TransientError("the feed has ended")
        self._wake()
        self._arrived.clear()
        await self._link.close_channel(self._line, self._channel)


async def subscribe(link: Link, acct: Mapping[str, Any], subscription: Subscription) -> Feed:
    """Declare and bind the subscription's queue and begin to read it; raises a DeliveryError."""
    try:
        async with link.channel() as (line, channel):
            await queues.make(channel, acct, subscription, link.target.place)
            feed = Feed(link, line, channel, subscription)
            try:
                await feed.begin()
            except BaseException:
                line.lost.discard(feed.lost)
                raise
            return feed
    except Exception as error:
        raise refusals.declaring(error, link.target.place, "a channel", "Start again") from error

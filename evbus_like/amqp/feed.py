"""A feed: one channel that reads one queue, for one handler."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from math import ceil
from struct import Struct
from typing import Any

from evbus_like.amqp import failures, topology
from evbus_like.amqp.connection import Channel
from evbus_like.amqp.deliveries import Deliveries, Delivery, decode
from evbus_like.amqp.shared_connection import SharedConnection
from evbus_like.engine.errors import TransientError
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.receiving.subscription import Subscription

_settle = Struct(">BHIHHQBB").pack  # a frame: type, channel, size; class, method; tag, flags; end
CONSUME_TIMEOUT = 10.0  # seconds for RabbitMQ to find the queue's leader
ACK, NACK, REQUEUED = 80, 120, 2  # methods, and a flag of the second one
END = 0xCE


class Feed:
    """Keeps what was delivered and not received yet, and what was delivered and not settled yet."""

    def __init__(self, channel: Channel, subscription: Subscription, wake: Callable[[], None] | None = None) -> None:
        self.subscription = subscription
        self.own_connection: SharedConnection | None = None  # closed with the feed
        self._channel = channel
        self._place = channel.connection.target.place
        self._arrived: deque[Delivery] = deque()
        self._unsettled: dict[int, None] = {}  # delivery tags, in order
        self._most = 2 * max(1, subscription.prefetch)  # of them, before RabbitMQ is disconnected
        self._trouble: TransientError | None = None
        self._waiting: asyncio.Future[None] | None = None
        self._call_woken = wake  # is called when `take` has events, or raises
        self._ready: int | None = None  # events in the queue, divided by its consumers

    @property
    def lag(self) -> int | None:
        """How many events are not settled: of those in the queue this consumer's share, when it was last looked at."""
        return None if self._ready is None else self._ready + len(self._unsettled)

    async def look(self, channel: Channel) -> None:
        """Count what is in the queue."""
        found = await topology.declare_queue(channel, self.subscription.queue, passive=True)
        self._ready = ceil(found.message_count / max(1, found.consumer_count))

    async def start(self) -> None:
        """Let RabbitMQ send, at most the subscription's prefetch at once; raises a DeliveryError."""
        channel, queue = self._channel, self.subscription.queue
        channel.on_lost(self.lost)
        channel.aiormq.on_consumer_cancel_callbacks.add(self._cancelled)
        channel.tap(Deliveries(self.deliver))
        try:
            await channel.aiormq.basic_qos(prefetch_count=min(self.subscription.prefetch, topology.MOST_PREFETCH))
            await self._consume(queue)
        except Exception as error:
            what = f"to give events of the queue {queue!r}"
            raise failures.declaring(error, self._place, what, "Start again") from error

    async def _consume(self, queue: str) -> None:
        """Start the consumer; raises NoLeader if RabbitMQ closes the connection for it, or does not answer."""
        connection = self._channel.connection
        try:
            async with asyncio.timeout(min(CONSUME_TIMEOUT, connection.target.timeout * 0.8)):
                await topology.consume(self._channel, queue)
        except TimeoutError as error:
            raise failures.no_leader(queue, self._place, "no answer") from error
        except Exception as error:
            if connection.closed is not None and connection.closed.code == failures.INTERNAL_ERROR:
                raise failures.no_leader(queue, self._place, connection.closed.text) from error
            raise

    @property
    def is_open(self) -> bool:
        """Whether it reads its queue."""
        return self._trouble is None

    def deliver(self, delivery: Delivery) -> None:
        """Take a delivery."""
        self._unsettled[delivery.tag] = None
        if len(self._unsettled) > self._most:
            self._channel.connection.break_off(
                f"{len(self._unsettled)} events of the queue {self.subscription.queue!r} are not acknowledged, and its"
                f" prefetch is {self.subscription.prefetch}"
            )
            return
        self._arrived.append(delivery)
        self._wake()

    def _wake(self) -> None:
        if self._call_woken is not None:
            self._call_woken()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def lost(self, error: BaseException | None) -> None:
        """Handle the loss of the channel: `receive` and the verbs that settle raise from now on."""
        if self._trouble is None:
            self._trouble = failures.lost(error, self._place, self._channel.connection.closed)
            self._wake()

    def _cancelled(self, _frame: Any) -> None:
        self.lost(ConnectionError(f"the queue {self.subscription.queue!r} was deleted, or its node is gone"))

    async def receive(self) -> list[ReceivedEvent]:
        """Wait for events; nothing is lost if this is cancelled."""
        while not (events := self.take()):
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        return events

    def take(self) -> list[ReceivedEvent]:
        """Return the events that have arrived; raises TransientError if the channel is lost."""
        self._check()
        subscription = self.subscription
        events = [decode(delivery, subscription) for delivery in self._arrived]
        self._arrived.clear()
        return events

    def ack(self, events: Iterable[ReceivedEvent]) -> None:
        """Acknowledge events, in one write; raises TransientError if the channel is lost."""
        self._check()
        unsettled = self._unsettled
        tags = [event.token.tag for event in events if event.token.tag in unsettled]
        for tag in tags:
            del unsettled[tag]
        number, oldest = self._channel.number, next(iter(unsettled), None)
        below = tags if oldest is None else [tag for tag in tags if tag < oldest]
        frames = [_settle(1, number, 13, 60, ACK, tag, 0, END) for tag in tags if oldest is not None and tag > oldest]
        if below:  # all up to the highest of them are settled: one frame for all
            frames.append(_settle(1, number, 13, 60, ACK, max(below), 1, END))
        self._write(frames)

    def requeue(self, event: ReceivedEvent) -> None:
        """Put an event back into its queue; raises TransientError if the channel is lost."""
        self._check()
        if self._unsettled.pop(event.token.tag, self) is None:
            self._write([_settle(1, self._channel.number, 13, 60, NACK, event.token.tag, REQUEUED, END)])

    def _write(self, frames: list[bytes]) -> None:
        """Write frames in the same step as the tags are taken off the books.

        An ack for all tags up to one must not overtake the nack of one of them. No more can wait to be sent than one
        frame for each event of the prefetch: RabbitMQ delivers others only when it has the frame.
        """
        if frames:
            self._channel.write_now(b"".join(frames))

    def _check(self) -> None:
        if self._trouble is not None:
            raise self._trouble

    async def end(self) -> None:
        """Close the channel: unsettled events return to their places in the queue."""
        if self._trouble is None:
            self._trouble = TransientError("the feed has ended")
        self._wake()
        self._arrived.clear()
        try:
            await self._channel.close()
        finally:
            if self.own_connection is not None:
                await self.own_connection.close()


async def take_shard(connection: SharedConnection, shard: Subscription, wake: Callable[[], None]) -> Feed | None:
    """Start to read a shard, unless another worker does: then return None; raises a DeliveryError.

    If two workers ask at the same time, RabbitMQ gives events to one of them, and both may withdraw.
    """
    try:
        async with connection.channel() as channel:
            found = await topology.declare_queue(channel, shard.queue, passive=True)
            if found.consumer_count:
                await channel.close()
                return None
            feed = Feed(channel, shard, wake)
            await feed.start()
            found = await topology.declare_queue(channel, shard.queue, passive=True)
            if found.consumer_count > 1:
                await feed.end()
                return None
            return feed
    except Exception as error:
        what = f"to give the queue {shard.queue!r}"
        raise failures.declaring(error, connection.place, what, "It is declared again") from error


async def subscribe(connection: SharedConnection, acct: Mapping[str, Any], subscription: Subscription) -> Feed:
    """Declare and bind the subscription's queue and start to read it; raises a DeliveryError."""
    try:
        async with connection.channel() as channel:
            await topology.declare_subscription(channel, acct, subscription)
            feed = Feed(channel, subscription)
            await feed.start()
            return feed
    except Exception as error:
        raise failures.declaring(error, connection.place, "a channel", "Start again") from error

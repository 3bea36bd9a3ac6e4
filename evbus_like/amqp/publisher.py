"""A publisher: one connection and one channel with confirms, that sends the batches of one profile in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import aiormq.exceptions as aiormq

from evbus_like.amqp import failures, topology
from evbus_like.amqp.confirms import ConfirmChannel
from evbus_like.amqp.connection import CLOSE_TIMEOUT, Channel, Connection
from evbus_like.amqp.encoder import Encoder, UnknownExchange
from evbus_like.amqp.hosts import Hosts
from evbus_like.amqp.one_by_one import OneByOne
from evbus_like.amqp.settings import PublishOptions, client_properties
from evbus_like.amqp.shared_connection import check_each, connect
from evbus_like.amqp.topology import ServiceExchanges
from evbus_like.engine.cloudevents import CloudEvents
from evbus_like.engine.errors import DeliveryError, DestinationRefused, PoisonEvent
from evbus_like.engine.event import Event, events_of, service_of
from evbus_like.engine.sending.destination import Outcomes

IN_DOUBT = 1.0  # seconds for a connection to close on which a batch had no answer: another host may be there


class Sender(Protocol):
    """Publishes the events of one channel."""

    async def send(self, events: Sequence[Event]) -> list[Exception | None]:
        """Send events in order and wait for their confirms; raises UnknownExchange before anything is sent."""


class Publisher:
    """Publishes for one profile.

    A channel that failed is closed with its connection, and the next publish opens new ones; the lane sends again what
    was not confirmed. `blocked` is called with the reason when RabbitMQ blocks the connection, and with None when the
    block is over.
    """

    def __init__(
        self,
        hosts: Hosts,
        acct: Mapping[str, Any],
        blocked: Callable[[str | None], None],
        cloud_events: CloudEvents | None = None,
    ) -> None:
        self.hosts = hosts
        self._cloud_events = cloud_events
        self._options = PublishOptions.of(acct)
        self._properties = client_properties(acct)
        self._blocked = blocked
        self._connection: Connection | None = None
        self._close_within = CLOSE_TIMEOUT
        self._channel: Channel | None = None
        self._sender: Sender | None = None
        self._exchanges: ServiceExchanges | None = None

    @property
    def ready(self) -> bool:
        """Whether the channel is open, as far as can be known without asking the broker."""
        return self._channel is not None and self._channel.is_open

    @property
    def _place(self) -> str:
        return self._connection.target.place if self._connection is not None else self.hosts.place

    async def open(self) -> None:
        """Connect, open a channel with confirms, and look the exchange up or declare it; raises DeliveryError."""
        await self.close()

        connection: Connection | None = None

        def on_blocked(reason: str | None) -> None:
            if connection is not None and connection is self._connection:  # an older one may still be closing
                self._blocked(reason and failures.blocked(reason, self._place))

        connection = self._connection = await connect(self.hosts, self._properties, on_blocked)
        self._exchanges = ServiceExchanges(connection, self._options.declare_events)
        try:
            await (self._open_batches if self._options.batched else self._open_one_by_one)(connection)
        except Exception as error:
            place = self._place
            await self.close()
            raise failures.opening(error, place) from error

    async def _open_batches(self, connection: Connection) -> None:
        options = self._options
        async with connection.channel(confirms=True) as channel:
            await topology.find_exchange(channel, options.exchange, options.declare)
            encoder = Encoder(channel.number, channel.max_body, options, self._known_exchanges)
            self._sender = Batches(ConfirmChannel(channel, self._failure), encoder, options.fixed_key)
            self._channel = channel

    async def _open_one_by_one(self, connection: Connection) -> None:
        assert connection.aio_pika is not None
        outer = await connection.aio_pika.channel(publisher_confirms=True, on_return_raises=True)
        channel = Channel(connection, await outer.get_underlay_channel())
        await topology.find_exchange(channel, self._options.exchange, self._options.declare)
        self._sender = OneByOne(outer, self._options, self._known_exchanges, self._failure, channel.max_body)
        self._channel = channel

    @property
    def _known_exchanges(self) -> set[str] | None:
        return self._exchanges.known if self._exchanges is not None and self._options.by_service else None

    async def publish(self, events: Sequence[Event]) -> Outcomes | None:
        """Send a batch and wait for all its confirms."""
        if not self.ready:
            await self.open()
        if self._cloud_events is not None:
            events = [self._cloud_events.converted(event) for event in events]
        try:
            outcomes = await self._send(events)
        except BaseException:
            self._channel = None  # its delivery tags are in doubt
            self._close_within = IN_DOUBT
            raise
        if not any(outcomes):
            return None
        if all(outcomes) and not self.ready:
            raise next(error for error in outcomes if error)
        return outcomes

    async def _send(self, events: Sequence[Event]) -> list[Exception | None]:
        """Send a batch; declare the exchanges of services first that are new to this connection."""
        assert self._sender is not None
        assert self._exchanges is not None
        try:
            return await self._sender.send(events)
        except UnknownExchange:
            pass
        services = {service for event in events if (service := service_of(event)) is not None}
        try:
            problems = await self._exchanges.problems(map(events_of, services))
        except Exception as error:
            raise failures.opening(error, self._place) from error
        outcomes: list[Exception | None] = [problems.get(events_of(service_of(event) or "")) for event in events]
        sendable = [event for event, problem in zip(events, outcomes, strict=True) if problem is None]
        answers = iter(await self._sender.send(sendable) if sendable else ())
        return [next(answers) if problem is None else problem for problem in outcomes]

    def _failure(self, error: BaseException | None) -> DeliveryError:
        """Classify what happened to events in flight."""
        closed = self._connection.closed if self._connection is not None else None
        return failures.publishing(error, self._place, closed)

    async def ping(self) -> None:
        """Check over another channel that the broker answers, and has the queue of all events, if there is one.

        Each host is tried if there are several. Raises a DeliveryError that names them.
        """
        assert self._connection is not None, "the publisher is not open"
        queue = self._options.fixed_key if not self._options.exchange else None
        try:
            async with self._connection.channel() as channel:
                if queue is not None:
                    await topology.declare_queue(channel, queue, passive=True)
                await channel.close()
        except aiormq.ChannelNotFoundEntity:
            raise DestinationRefused(
                f"RabbitMQ at {self._place} has no queue {queue!r}, the profile's routing_key, and without an exchange"
                " every event goes there: create the queue, or give the profile an exchange:"
            ) from None
        except Exception as error:
            raise failures.opening(error, self._place) from error
        if len(self.hosts.targets) > 1:
            await check_each(self.hosts, self._properties)

    async def close(self) -> None:
        """Close the connection, if there is one."""
        connection, self._connection, self._channel = self._connection, None, None
        self._sender = self._exchanges = None
        within, self._close_within = self._close_within, CLOSE_TIMEOUT
        if connection is not None:
            await connection.close(within)


class Batches:
    """Publishes batches, each in one write, and collects their confirms without a future for each message."""

    def __init__(self, channel: ConfirmChannel, encoder: Encoder, fixed_key: str | None) -> None:
        self._channel = channel
        self._encoder = encoder
        self._fixed_key = fixed_key

    async def send(self, events: Sequence[Event]) -> list[Exception | None]:
        """Write events in one piece, in order, and wait for their confirms; raises UnknownExchange, DeliveryError."""
        encode, fixed_key = self._encoder.encode, self._fixed_key
        frames: list[bytes] = []
        refused: dict[int, PoisonEvent] = {}
        for position, event in enumerate(events):
            try:
                encode(event, event.routing_key if fixed_key is None else fixed_key, frames)
            except UnknownExchange:
                raise
            except Exception as error:
                refused[position] = failures.not_encoded(error)
        batch = Batch(len(events) - len(refused))
        slots = [Slot(batch, position, event) for position, event in enumerate(_without(events, refused))]
        if slots:
            await self._channel.write(slots, b"".join(frames))
            await batch.done
        if not refused:
            return batch.outcomes
        answers = iter(batch.outcomes)
        return [refused.get(position) or next(answers) for position in range(len(events))]


def _without(events: Sequence[Event], refused: Mapping[int, Any]) -> Sequence[Event]:
    if not refused:
        return events
    return [event for position, event in enumerate(events) if position not in refused]


class Batch:
    """The confirms of one batch: `outcomes` holds None or an error for each event, `done` is a future."""

    __slots__ = ("done", "left", "outcomes")

    def __init__(self, count: int) -> None:
        self.outcomes: list[Exception | None] = [None] * count
        self.left = count
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Slot:
    """The place of one event in its batch."""

    __slots__ = ("_batch", "_event", "_position", "returned")

    properties = b""

    def __init__(self, batch: Batch, position: int, event: Event) -> None:
        self._batch = batch
        self._position = position
        self._event = event
        self.returned: tuple[str, str] | None = None

    @property
    def id(self) -> str:
        """The event's id, which is the message id."""
        return self._event.id

    @property
    def body(self) -> bytes:
        """The event's body."""
        body: bytes = self._event.body
        return body

    def settle(self, error: Exception | None) -> None:
        """Take RabbitMQ's answer."""
        batch = self._batch
        if self.returned is not None:
            error = failures.unroutable(*self.returned)
        if error is not None:
            batch.outcomes[self._position] = error
        batch.left -= 1
        if not batch.left and not batch.done.done():
            batch.done.set_result(None)

    def lost(self, error: Exception) -> None:
        """Handle a lost confirm."""
        self.returned = None  # the event is sent again
        self.settle(error)

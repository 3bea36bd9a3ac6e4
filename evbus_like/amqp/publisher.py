"""A publisher: one connection and one channel to RabbitMQ, with confirms, that sends batches in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import aio_pika

from evbus_like.amqp import alarm, batch, failures
from evbus_like.amqp.connect import Target, connect
from evbus_like.amqp.exchanges import Exchanges
from evbus_like.amqp.frames import Encoder, UnknownExchange
from evbus_like.engine.errors import Blocked, DeliveryError
from evbus_like.engine.event import Event, events_of, service_of
from evbus_like.engine.sending.destination import Outcomes

BLOCKED_WAIT = 1.0  # seconds that a blocked broker is waited for, where its alarm cannot be watched

# At DEBUG these log frames, with messages and passwords in them.
for _name in ("aio_pika", "aiormq"):
    logging.getLogger(_name).setLevel(max(logging.INFO, logging.getLogger(_name).level))


class Publisher:
    """Publishes for one profile.

    A channel that failed is given up with its connection, and the next publish opens new ones; what was not confirmed
    is the lane's to send again. `blocked` is told why RabbitMQ blocks the connection, and None when that is over.
    """

    def __init__(self, target: Target, acct: Mapping[str, Any], blocked: Callable[[str | None], None]) -> None:
        exchange = acct.get("exchange") or "default"
        self.target = target
        self.exchange = "" if exchange == "default" else exchange
        self.fixed_key = acct.get("routing_key") or None
        self.declare: Mapping[str, Any] | None = acct.get("declare")
        # Events of services go to exchanges of their own, where the profile does not say itself where its events go.
        self.by_service = not acct.get("exchange") and self.fixed_key is None
        self.declare_events = acct.get("declare_events", True)
        self.mandatory = acct.get("mandatory", True)
        self.service_mandatory = acct.get("mandatory", False)  # nobody listening is no error for an event of a service
        self.persistent = acct.get("persistent", True)
        self.app_id = acct.get("app_id", "")
        self.id_header = acct.get("id_header", "")
        self.batched = acct.get("batched", True)
        self.properties = (
            dict((acct.get("connection") or {}).get("client_properties") or {})
            if isinstance(acct.get("connection"), Mapping)
            else {}
        )
        self._blocked = blocked
        self._watched = False
        self._connection: Any = None
        self._channel: Any = None  # aiormq's
        self._outer: Any = None  # aio-pika's channel around it
        self._exchange: Any = None  # aio-pika's
        self._exchanges: Exchanges | None = None  # those of services' events
        self._encoder: Encoder | None = None

    @property
    def ready(self) -> bool:
        """Whether the channel is open, as far as can be known without asking the broker."""
        return self._channel is not None and not self._channel.is_closed

    async def open(self) -> None:
        """Connect, open a channel with confirms, and look the exchange up or declare it; raises DeliveryError."""
        await self.close()
        try:
            self._connection = await connect(self.target, self.properties)
        except Exception as error:
            raise failures.connecting(error, self.target.place, self.target.user) from error
        self._watched = alarm.watch(self._connection.transport.connection, partial(self._alarm, self._connection))
        try:
            self._outer = await self._connection.channel(publisher_confirms=True, on_return_raises=True)
            self._exchange = await self._look_up(self._outer)
            self._channel = await self._outer.get_underlay_channel()
        except Exception as error:
            await self.close()
            raise failures.publishing(error, self.target.place, self.exchange) from error
        self._exchanges = Exchanges(self._connection, self.declare_events, self.target.place)
        self._encoder = None
        if self.batched and batch.usable(self._channel):
            self._encoder = Encoder(
                self._channel.number,
                self._channel.max_content_size,
                self.exchange,
                self.mandatory,
                self.persistent,
                self.app_id,
                self.id_header,
                self._exchanges.there if self.by_service else None,
                self.service_mandatory,
            )

    def _alarm(self, connection: Any, reason: str | None) -> None:
        if connection is self._connection:  # what was given up has no say
            self._blocked(reason and failures.blocked(reason, self.target.place))

    async def _look_up(self, channel: Any) -> Any:
        if not self.exchange:
            return channel.default_exchange
        if self.declare is None:
            return await channel.get_exchange(self.exchange, ensure=True)
        wanted = dict(self.declare)
        return await channel.declare_exchange(
            self.exchange,
            wanted.get("type", "topic"),
            durable=wanted.get("durable", True),
            auto_delete=wanted.get("auto_delete", False),
            internal=wanted.get("internal", False),
            arguments=wanted.get("arguments"),
        )

    async def publish(self, events: Sequence[Event]) -> Outcomes | None:
        """Send a batch and wait for all its confirms."""
        if not self.ready:
            await self.open()
        if not (self._watched or await self._unblocked()):
            return [Blocked(failures.blocked("connection.blocked", self.target.place))] * len(events)
        try:
            outcomes = await self._send(events)
        except BaseException:
            self._channel = None  # its numbering is in doubt
            raise
        if not any(outcomes):
            return None
        if all(outcomes) and not self.ready:
            raise next(error for error in outcomes if error)
        return outcomes

    async def _unblocked(self) -> bool:
        try:
            async with asyncio.timeout(BLOCKED_WAIT):
                await self._connection.transport.connection.ready()
        except TimeoutError:
            return False
        return True

    async def _send(self, events: Sequence[Event]) -> list[Exception | None]:
        """Send a batch; of services that are new to this connection, make sure of their exchanges first."""
        send = self._send_batch if self._encoder is not None else self._send_singly
        try:
            return await send(events)
        except UnknownExchange:
            pass
        assert self._exchanges is not None
        services = {service for event in events if (service := service_of(event)) is not None}
        try:
            problems = await self._exchanges.problems(map(events_of, services))
        except Exception as error:
            raise self._failure(error) from error
        outcomes = [problems.get(events_of(service_of(event) or "")) for event in events]
        sendable = [event for event, problem in zip(events, outcomes, strict=True) if problem is None]
        answers = iter(await send(sendable) if sendable else ())
        return [next(answers) if problem is None else problem for problem in outcomes]

    async def _send_batch(self, events: Sequence[Event]) -> list[Exception | None]:
        channel = self._channel
        try:
            confirms = await batch.publish(channel, self._encoder, events, self.fixed_key)
        except UnknownExchange:
            raise
        except Exception as error:
            raise self._failure(error) from error
        lost: Exception | None = None
        try:
            await confirms.done
        except asyncio.CancelledError:
            raise
        except Exception as error:
            lost = error
        finally:
            batch.forget(channel, events)
        return [
            self._failure(lost) if outcome is confirms else outcome and self._failure(outcome)
            for outcome in confirms.outcomes
        ]

    async def _send_singly(self, events: Sequence[Event]) -> list[Exception | None]:
        """Send by aio-pika's public interface: a task a message, started in order."""
        if self.by_service:
            assert self._exchanges is not None
            for event in events:
                service = service_of(event)
                if service is not None and events_of(service) not in self._exchanges.there:
                    raise UnknownExchange(events_of(service))
        answers = await asyncio.gather(*(self._send_one(event) for event in events), return_exceptions=True)
        return [self._failure(answer) if isinstance(answer, BaseException) else None for answer in answers]

    async def _send_one(self, event: Event) -> None:
        headers = _headers(event)
        if self.id_header:
            headers[self.id_header] = event.id
        message = aio_pika.Message(
            event.body,
            content_type=event.content_type,
            delivery_mode=2 if self.persistent else 1,
            message_id=event.id,
            headers=headers,
            timestamp=event.timestamp,
            app_id=self.app_id or None,
        )
        key = event.routing_key if self.fixed_key is None else self.fixed_key
        exchange, mandatory = self._exchange, self.mandatory
        if (service := service_of(event)) is not None:
            mandatory = self.service_mandatory
            if self.by_service:
                exchange = await self._outer.get_exchange(events_of(service), ensure=False)
        await exchange.publish(message, routing_key=key, mandatory=mandatory)

    def _failure(self, error: BaseException | None) -> DeliveryError:
        return failures.publishing(error or ConnectionError(), self.target.place, self.exchange)

    async def ping(self) -> None:
        """Ask the broker for a sign of life: it answers the opening of another channel."""
        channel = await self._connection.channel()
        await channel.close()

    async def close(self) -> None:
        """Close the connection, if there is one."""
        connection, self._connection, self._channel = self._connection, None, None
        self._outer = self._exchange = self._exchanges = None
        if connection is not None:
            await connection.close()


def _headers(event: Event) -> dict[str, Any]:
    """Give the event's headers as pamqp takes them: its bytes are bytearrays."""
    headers = event.headers or {}
    return {name: bytearray(value) if isinstance(value, bytes) else value for name, value in headers.items()}

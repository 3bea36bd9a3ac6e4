"""Publishing one by one through aio-pika's public interface, for `batched: false`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Any

import aio_pika

from evbus_like.amqp.codec import pack_table
from evbus_like.amqp.encoder import UnknownExchange, expiration, headers_of, take_priority
from evbus_like.amqp.settings import PublishOptions
from evbus_like.engine.errors import DeliveryError, PoisonEvent
from evbus_like.engine.event import Event, events_of, service_of

OTHERS = 1024  # bytes of the other properties, at most


class OneByOne:
    """Publishes each event by a task of its own, started in order."""

    def __init__(
        self,
        channel: aio_pika.abc.AbstractChannel,
        options: PublishOptions,
        exchanges: Collection[str] | None,
        classify: Callable[[BaseException | None], DeliveryError],
        most: int,
    ) -> None:
        self._most = most  # bytes of properties in a frame
        self._channel = channel
        self._options = options
        self._exchanges = exchanges
        self._classify = classify

    async def send(self, events: Sequence[Event]) -> list[Exception | None]:
        """Send events and wait for their confirms; raises UnknownExchange before anything is sent."""
        if self._exchanges is not None:
            for event in events:
                service = service_of(event)
                if service is not None and events_of(service) not in self._exchanges:
                    raise UnknownExchange(events_of(service))
        answers = await asyncio.gather(*(self._publish(event) for event in events), return_exceptions=True)
        return [self._classify(answer) if isinstance(answer, BaseException) else None for answer in answers]

    async def _publish(self, event: Event) -> None:
        options = self._options
        size = len(pack_table(headers := headers_of(event, options.id_header))) + OTHERS
        if headers and size > self._most:
            raise PoisonEvent(f"its headers are {size} bytes, and RabbitMQ takes {self._most} in one frame")
        service = service_of(event)
        name = options.exchange if service is None or self._exchanges is None else events_of(service)
        exchange = await self._channel.get_exchange(name, ensure=False) if name else self._channel.default_exchange
        key = event.routing_key if options.fixed_key is None else options.fixed_key
        mandatory = options.mandatory if service is None else options.service_mandatory
        await exchange.publish(self._message(event, headers), routing_key=key, mandatory=mandatory)

    def _message(self, event: Event, headers: dict[str, Any]) -> aio_pika.Message:
        options, priority, left = self._options, take_priority(headers), expiration(headers)
        return aio_pika.Message(
            event.body,
            content_type=event.content_type,
            delivery_mode=2 if options.persistent else 1,
            message_id=event.id,
            priority=priority,
            expiration=None if left is None else left / 1000,
            headers={  # pamqp encodes bytearrays as bytes
                name: bytearray(value) if isinstance(value, bytes) else value for name, value in headers.items()
            },
            timestamp=event.timestamp,
            app_id=options.app_id or None,
        )

"""Encodes events as frames, for one channel and one set of fixed properties."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import isfinite
from struct import Struct
from time import time
from typing import Any

from evbus_like.amqp.codec import (
    BASIC,
    BODY,
    END,
    HEADER,
    METHOD,
    pack_frame,
    pack_shortstr,
    pack_table,
    publish_method,
)
from evbus_like.amqp.settings import PublishOptions
from evbus_like.engine.errors import PoisonEvent
from evbus_like.engine.event import KEY_HEADER, SERVICE_HEADER, Event, events_of, readable
from evbus_like.engine.expiry import CHECKED, EXPIRES, PRIORITY, milliseconds, priority_problem

SMALL = 1024  # bytes of body; above it, a copy saved is worth more than a shorter list
SMALLEST_FRAME = 4096 - 8  # bytes of properties that every broker takes (the specification's 4.2.3)
MOST_METHODS = 10_000  # kept for the next event with the same routing key
# Which properties are present (the specification's 4.2.6.1): always the content type, delivery mode, message id and
# timestamp, which are 55 bytes with JSON. RabbitMQ handles messages of more than 64 bytes of them a third slower.
ALWAYS = 1 << 15 | 1 << 12 | 1 << 7 | 1 << 6
HEADERS = 1 << 13
PRIORITIES = 1 << 11
EXPIRATION = 1 << 8
APP_ID = 1 << 3
LONGEST_EXPIRATION = 2**32 - 1  # milliseconds, for RabbitMQ

_header = Struct(">HHQH").pack  # class, weight, body size, property flags
_longlong = Struct(">Q").pack


def headers_of(event: Event, id_header: str = "") -> dict[str, Any]:
    """Return the event's headers, with its key, and with its id in the header `id_header` if the profile has one.

    Raises PoisonEvent.
    """
    headers = dict(event.headers or {})
    if key := readable(event.key):
        headers[KEY_HEADER] = key
    if id_header:
        headers[id_header] = event.id
    for name, value in headers.items():  # `put` refuses these, but an outbox may hold older events
        if isinstance(value, float) and not isfinite(value):
            raise PoisonEvent(f"header {name!r} is {value}, which closes RabbitMQ's connections")
    return headers


def take_priority(headers: dict[str, Any]) -> int | None:
    """Move the priority from the headers to a property of the message; None without one."""
    priority = headers.pop(PRIORITY, None)
    return None if priority is None or priority_problem(priority) else int(priority)  # a row of a table may be wrong


def expiration(headers: Mapping[str, Any]) -> int | None:
    """Return after how many milliseconds RabbitMQ drops a message; None if it has no expiry, or beyond RabbitMQ's most.

    The header stays, because RabbitMQ drops what has expired only at the head of a queue.
    """
    moment = milliseconds(headers.get(EXPIRES))
    left = max(1, moment - int(time() * 1000))
    return left if moment and left <= LONGEST_EXPIRATION else None


class UnknownExchange(Exception):
    """The exchange of an event's service has not been declared on this connection; nothing was written."""


class Encoder:
    """Encodes the events of a profile for one channel.

    An event of a service goes to the exchange of that service, which must be in `exchanges`, a set that the owner
    fills. If `exchanges` is None, it goes to `exchange` like all others.
    """

    def __init__(
        self, channel: int, max_body: int, options: PublishOptions, exchanges: Collection[str] | None = None
    ) -> None:
        self._channel = channel
        self._max_body = max_body
        self._most = max(max_body, SMALLEST_FRAME)
        self._exchange = options.exchange
        self._exchanges = exchanges
        self._mandatory = options.mandatory
        self._service_mandatory = options.service_mandatory
        self._delivery_mode = b"\x02" if options.persistent else b"\x01"
        self._flags = ALWAYS | (APP_ID if options.app_id else 0)
        self._app_id = pack_shortstr(options.app_id) if options.app_id else b""
        self._id_header = options.id_header
        self._methods: dict[str, bytes] = {}  # by routing key
        self._service_methods: dict[tuple[str, str], bytes] = {}  # by service and routing key
        self._content_types: dict[str, bytes] = {}

    def _method(self, routing_key: str) -> bytes:
        made = self._published(self._exchange, routing_key, self._mandatory)
        if len(self._methods) > MOST_METHODS:
            self._methods.clear()
        self._methods[routing_key] = made
        return made

    def _service_method(self, service: str, routing_key: str) -> bytes:
        exchange = self._exchange
        if self._exchanges is not None:
            exchange = events_of(service)
            if exchange not in self._exchanges:
                raise UnknownExchange(exchange)
        made = self._published(exchange, routing_key, self._service_mandatory)
        if len(self._service_methods) > MOST_METHODS:
            self._service_methods.clear()
        self._service_methods[service, routing_key] = made
        return made

    def _published(self, exchange: str, routing_key: str, mandatory: bool) -> bytes:
        payload = publish_method(exchange, routing_key, mandatory)
        return pack_frame(METHOD, self._channel, len(payload)) + payload + END

    def _special(self, event: Event, routing_key: str) -> tuple[int, bytes, bytes, bytes]:
        """Return the flags, the method, the headers and the delivery mode, with what follows it, of such a message."""
        service = event.headers.get(SERVICE_HEADER) if event.headers else None
        if service is None:
            method = self._methods.get(routing_key) or self._method(routing_key)
        else:
            method = self._service_methods.get((service, routing_key)) or self._service_method(service, routing_key)
        flags, mode, headers = self._flags | HEADERS, self._delivery_mode, headers_of(event, self._id_header)
        if not CHECKED.isdisjoint(headers):
            if (priority := take_priority(headers)) is not None:
                flags, mode = flags | PRIORITIES, mode + bytes((priority,))
            if (left := expiration(headers)) is not None:
                flags, mode = flags | EXPIRATION, mode + pack_shortstr(str(left))
        return flags, method, pack_table(headers), mode

    def encode(self, event: Event, routing_key: str, frames: list[bytes]) -> None:
        """Append the encoded frames of one event to `frames`; raises UnknownExchange and PoisonEvent."""
        body = event.body
        size = len(body)
        content_type = self._content_types.get(event.content_type)
        if content_type is None:
            content_type = self._content_types[event.content_type] = pack_shortstr(event.content_type)
        if event.headers or event.key or self._id_header:
            flags, method, headers, mode = self._special(event, routing_key)
        else:
            flags, headers, mode = self._flags, b"", self._delivery_mode
            method = self._methods.get(routing_key) or self._method(routing_key)
        properties = b"".join(
            (
                _header(BASIC, 0, size, flags),
                content_type,
                headers,
                mode,
                pack_shortstr(event.id),
                _longlong(int(event.timestamp)),
                self._app_id,
            )
        )
        if headers and len(properties) > self._most:
            raise PoisonEvent(
                f"its headers and other properties are {len(properties)} bytes, and RabbitMQ takes {self._most} in"
                f" one frame: put large values into the body, or raise frame_max ({self._most + 8}) of the broker"
            )
        start = method + pack_frame(HEADER, self._channel, len(properties)) + properties + END
        most = self._max_body
        if size <= SMALL:
            frames.append(start + pack_frame(BODY, self._channel, size) + body + END if size else start)
        elif size <= most:
            frames += (start + pack_frame(BODY, self._channel, size), body, END)
        else:
            frames.append(start)
            for offset in range(0, size, most):
                piece = body[offset : offset + most]
                frames += (pack_frame(BODY, self._channel, len(piece)), piece, END)

"""Deliveries: puts a message together from the frames of one channel."""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Any

from evbus_like.amqp import wire

DELIVER = b"\x00\x3c\x00\x3c"  # basic.deliver
_tag = Struct(">Q").unpack_from
_size = Struct(">Q").unpack_from
MOST_PLACES = 1000


class Delivery:
    """One message as RabbitMQ delivered it; `properties` are the bytes of its properties, their flags first."""

    __slots__ = ("body", "exchange", "properties", "redelivered", "routing_key", "tag")

    def __init__(
        self, tag: int, redelivered: bool, exchange: str, routing_key: str, properties: bytes = b"", body: bytes = b""
    ) -> None:
        self.tag = tag
        self.redelivered = redelivered
        self.exchange = exchange
        self.routing_key = routing_key
        self.properties = properties
        self.body = body


class Content:
    """Puts the header and the body of one content together; `done` is called with its properties and its body."""

    __slots__ = ("_done", "_left", "_pieces", "_properties")

    def __init__(self, done: Callable[[bytes, bytes], Any]) -> None:
        self._done = done
        self._properties = b""
        self._pieces: list[bytes] = []
        self._left = -1

    def header(self, payload: bytes) -> None:
        """Take the content's header (the specification's 2.3.5.2)."""
        self._properties, self._left = payload[12:], _size(payload, 4)[0]
        self._check()

    def body(self, payload: bytes) -> None:
        """Take a piece of its body."""
        self._pieces.append(payload)
        self._left -= len(payload)
        self._check()

    def _check(self) -> None:
        if self._left > 0:
            return
        pieces, self._pieces = self._pieces, []
        self._done(self._properties, pieces[0] if len(pieces) == 1 else b"".join(pieces))


class Deliveries:
    """The sink of a consumer's channel; `arrived` is called with every delivery."""

    def __init__(self, arrived: Callable[[Delivery], None]) -> None:
        self._arrived = arrived
        self._current: Delivery | None = None
        self._content = Content(self._done)
        self._places: dict[bytes, tuple[str, str]] = {}  # exchange and routing key, by their bytes

    def method(self, payload: bytes) -> bool:
        """Take a basic.deliver."""
        if payload[:4] != DELIVER:
            return False
        at = 5 + payload[4]  # behind the consumer's tag
        where = payload[at + 9 :]
        exchange, routing_key = self._places.get(where) or self._place(where)
        self._current = Delivery(_tag(payload, at)[0], payload[at + 8] & 1 == 1, exchange, routing_key)
        return True

    def _place(self, where: bytes) -> tuple[str, str]:
        exchange, at = wire.shortstr(where, 0)
        if len(self._places) >= MOST_PLACES:
            self._places.clear()
        self._places[where] = exchange, wire.shortstr(where, at)[0]
        return self._places[where]

    def header(self, payload: bytes) -> bool:
        """Take a delivery's header."""
        if self._current is None:
            return False
        self._content.header(payload)
        return True

    def body(self, payload: bytes) -> bool:
        """Take a piece of a delivery's body."""
        if self._current is None:
            return False
        self._content.body(payload)
        return True

    def _done(self, properties: bytes, body: bytes) -> None:
        current, self._current = self._current, None
        if current is not None:
            current.properties, current.body = properties, body
            self._arrived(current)

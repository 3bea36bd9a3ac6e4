"""Deliveries: messages that RabbitMQ delivers, joined from their frames and decoded into received events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from struct import Struct
from typing import Any

from evbus_like.amqp.codec import LONGEST_NAME, Content, read_shortstr
from evbus_like.amqp.properties import CONTENT_ENCODING, CONTENT_TYPE, MESSAGE_ID, REPLY_TO, Properties
from evbus_like.engine.cloudevents import MARKS, peeked, with_trace
from evbus_like.engine.event import KEY_HEADER
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.receiving.subscription import Subscription

DELIVER = b"\x00\x3c\x00\x3c"  # basic.deliver
MOST_PLACES = 1000
MOST_ATTEMPTS = 1_000_000_000  # a message may name any number
ATTEMPT = "evbus-attempt"  # of a copy that was retried
ROUTING_KEY = "evbus-routing-key"  # the routing key of the original of such a copy
DEATHS = ("x-death", "x-first-death-", "x-last-death-")  # headers that RabbitMQ adds to a message that expires
COUNT = "x-delivery-count"  # of quorum queues: how often it was delivered before
OWN = frozenset({ATTEMPT, ROUTING_KEY})

_tag = Struct(">Q").unpack_from


class Delivery:
    """One message as RabbitMQ delivered it; `properties` are the bytes of its properties, their flags first.

    `copy` is its copy for a retry or for the dead letters that was sent last.
    """

    __slots__ = ("body", "copy", "exchange", "feed", "properties", "redelivered", "routing_key", "tag")

    def __init__(
        self, tag: int, redelivered: bool, exchange: str, routing_key: str, properties: bytes = b"", body: bytes = b""
    ) -> None:
        self.tag = tag
        self.redelivered = redelivered
        self.exchange = exchange
        self.routing_key = routing_key
        self.properties = properties
        self.body = body
        self.feed: Any = None  # of a shard
        self.copy: Any = None


class Deliveries:
    """The sink of a consumer's channel; `arrived` is called with each delivery."""

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
        encoded = payload[at + 9 :]
        exchange, routing_key = self._places.get(encoded) or self._place(encoded)
        self._current = Delivery(_tag(payload, at)[0], payload[at + 8] & 1 == 1, exchange, routing_key)
        return True

    def _place(self, encoded: bytes) -> tuple[str, str]:
        exchange, at = read_shortstr(encoded, 0)
        if len(self._places) >= MOST_PLACES:
            self._places.clear()
        self._places[encoded] = exchange, read_shortstr(encoded, at)[0]
        return self._places[encoded]

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


def decode(delivery: Delivery, subscription: Subscription) -> ReceivedEvent:
    """Return the event of a delivery; raises nothing, whatever the message holds."""
    properties = Properties(delivery.properties)
    headers = properties.headers
    routing_key, attempt, key = delivery.routing_key, 1, None
    if headers:
        if delivery.exchange == "" and routing_key == subscription.queue and ATTEMPT in headers:
            attempt = _count(headers[ATTEMPT], 1)
            given = headers.get(ROUTING_KEY)
            routing_key = given if isinstance(given, str) and len(given) <= LONGEST_NAME else routing_key
            headers = {name: value for name, value in headers.items() if not is_of_retry(name)}
        attempt += _times_returned(headers, delivery)
        key = headers.pop(KEY_HEADER, None)
        if not MARKS.isdisjoint(headers):
            headers = with_trace(headers)
    content_type = properties.text(CONTENT_TYPE)
    return ReceivedEvent(
        delivery.body,
        routing_key,
        subscription.source,
        properties.text(MESSAGE_ID)
        or _id(headers.get("evbus-id"))
        or peeked(headers, content_type, delivery.body).get("id", ""),
        headers,
        content_type,
        properties.timestamp,
        delivery.redelivered or attempt > 1,
        attempt,
        None,
        delivery,
        properties.text(REPLY_TO),
        properties.correlation_id,
        properties.text(CONTENT_ENCODING),
        key if key is None or isinstance(key, (str, bytes)) else str(key),
    )


def times_returned(event: ReceivedEvent) -> int:
    """Return how often an event was returned to its queue, as a quorum queue counts; 0 for others."""
    return _times_returned(event.headers, event.token)


def _times_returned(headers: Mapping[str, Any], delivery: Delivery) -> int:
    return _count(headers.get(COUNT), 0) if delivery.redelivered else 0  # else the header is the sender's own


def is_of_retry(name: str) -> bool:
    """Return whether a header was added by a retry."""
    return name in OWN or name.startswith(DEATHS)


def _count(value: Any, least: int) -> int:
    return min(max(least, value), MOST_ATTEMPTS) if isinstance(value, int) else least


def _id(value: Any) -> str:
    """Return the id that a header names; an absurd one would fill logs and dedup windows."""
    text = str(value or "")
    return text if len(text) <= LONGEST_NAME else ""

"""An event: what `put` takes in, and, once serialized, what destinations get."""

from __future__ import annotations

import itertools
import os
import uuid
from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from evbus_like.engine.errors import BadEvent

if TYPE_CHECKING:
    from evbus_like.engine.receipt import Receipt

MAX_ROUTING_KEY = 255  # bytes: AMQP 0-9-1 short strings (spec 4.2.5.3), and Kafka topics end at 249
MAX_HEADER_NAME = 128  # bytes: AMQP 0-9-1 field names (spec 4.2.5.5)
SERVICE_HEADER = "evbus-service"  # an event that has it is one of that service; its routing key is the event's type
SCALARS = (str, int, float, bool, bytes, type(None))
MAX_SERVICE = MAX_ROUTING_KEY - len(".events")  # bytes: the exchange and the topic of a service's events end so


class Event:
    """One event on its way.

    `body` is the caller's object until the bus has serialized it, and `bytes` from then on. `id` is unique and
    stays the same through every retry. `timestamp` is when it was accepted, in seconds since 1970. `quiet` events are
    those put by an error callback or a log handler: their failures are counted and never reported, so that no report
    feeds itself. `seq` is its number in the outbox, 0 if it is not there.
    """

    __slots__ = (
        "body",
        "content_type",
        "headers",
        "id",
        "key",
        "profile",
        "quiet",
        "receipt",
        "routing_key",
        "seq",
        "timestamp",
    )

    def __init__(
        self,
        routing_key: str,
        body: Any,
        profile: str,
        headers: Mapping[str, Any] | None = None,
        key: str | bytes | None = None,
        quiet: bool = False,
    ) -> None:
        self.id = f"{_prefix}-{_count():x}"
        self.routing_key = routing_key
        self.body = body
        self.profile = profile
        self.headers = _own(headers) if headers else None  # the caller may change his
        self.key = key
        self.quiet = quiet
        self.timestamp = 0.0
        self.content_type = ""
        self.receipt: Receipt | None = None
        self.seq = 0

    def copy(self) -> Event:
        """Give a copy, for lanes with another serializer; the id is the same."""
        copy = Event.__new__(Event)
        for name in Event.__slots__:
            setattr(copy, name, getattr(self, name))
        return copy

    def __repr__(self) -> str:  # bodies and headers may hold secrets
        return f"<Event {self.id} routing_key={self.routing_key!r} profile={self.profile!r}>"


# Set while an error callback or a log handler puts: its events are quiet.
quietly: ContextVar[bool] = ContextVar("evbus_like_quietly", default=False)
quiet_context = quietly.get


def check(routing_key: Any, profile: Any, headers: Any, key: Any) -> None:
    """Raise BadEvent for what no destination could use; the cheap common case costs three type checks."""
    if not isinstance(routing_key, str):
        raise BadEvent(
            f"routing_key must be a string, not {type(routing_key).__name__};"
            " give the body by name: put(routing_key=..., body=...)"
        )
    if not routing_key.isascii() or len(routing_key) > MAX_ROUTING_KEY:
        size = _size(routing_key)
        if size is None:
            raise BadEvent(f"routing_key {routing_key!a:.60} holds a lone surrogate, which is not valid UTF-8 text")
        if size > MAX_ROUTING_KEY:
            raise BadEvent(f"routing_key is longer than {MAX_ROUTING_KEY} bytes: {routing_key[:40]!r}...")
    if not isinstance(profile, str):
        raise BadEvent(f"profile must be a string, not {type(profile).__name__}: it is matched against profile names")
    if headers is not None:
        _check_headers(headers)
    if key is not None and not isinstance(key, (str, bytes)):
        raise BadEvent(f"key must be a string or bytes, not {type(key).__name__}")


def _check_headers(headers: Any) -> None:
    if not isinstance(headers, Mapping):
        raise BadEvent(f"headers must be a mapping of names to plain values, not {type(headers).__name__}")
    for name, value in headers.items():
        if not isinstance(name, str) or not 0 < (_size(name) or 0) <= MAX_HEADER_NAME:
            raise BadEvent(f"header names are UTF-8 text of 1 to {MAX_HEADER_NAME} bytes, not {name!a:.60}")
        texts = value if isinstance(value, list) else [value] if isinstance(value, str) else ()
        if not isinstance(value, (*SCALARS, list)) or not all(isinstance(text, str) for text in texts):
            raise BadEvent(
                f"header {name!r} is a {type(value).__name__}; headers are str, int, float, bool, bytes, None"
                " or a list of str"
            )
        if any(_size(text) is None for text in texts):
            raise BadEvent(f"header {name!r} holds a lone surrogate, which is not valid UTF-8 text")
        if name == SERVICE_HEADER and (not isinstance(value, str) or not 0 < (_size(value) or 0) <= MAX_SERVICE):
            raise BadEvent(f"header {name!r} names a service: text of 1 to {MAX_SERVICE} bytes, not {value!a:.60}")
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise BadEvent(f"header {name!r} is an int beyond 64 bits; send it as text")


def _own(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Copy headers, with the lists in them."""
    return {name: value.copy() if isinstance(value, list) else value for name, value in headers.items()}


def service_of(event: Event) -> str | None:
    """Give the service whose event this is, None for an ordinary event."""
    return event.headers.get(SERVICE_HEADER) if event.headers else None


def events_of(service: str) -> str:
    """Give the name of the exchange, or the topic, of a service's events; nameko has the same."""
    return f"{service}.events"


def _size(text: str) -> int | None:
    """Give the length of a text in bytes, or None if it has none."""
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return None


# uuid4 costs more than encoding a small body: a random prefix of this process and a counter
_count = itertools.count(1).__next__
_prefix = ""


def _renew_prefix() -> None:
    """Draw a prefix for this process: a forked child must not repeat its parent's ids."""
    global _prefix
    _prefix = uuid.uuid4().hex[:20]


_renew_prefix()
os.register_at_fork(after_in_child=_renew_prefix)

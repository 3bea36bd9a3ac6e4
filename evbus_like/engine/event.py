"""An event: created by `put`, serialized by the bus, sent to destinations."""

from __future__ import annotations

import itertools
import math
import os
import re
import uuid
from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Self

from evbus_like import speedups
from evbus_like.engine.errors import BadEvent
from evbus_like.engine.expiry import CHECKED, header_problem
from evbus_like.engine.suggest import shown

if TYPE_CHECKING:
    from evbus_like.engine.receipt import Receipt

MAX_ROUTING_KEY = 255  # bytes: AMQP 0-9-1 short strings (spec 4.2.5.3), and Kafka topics end at 249
MAX_HEADER_NAME = 128  # bytes: AMQP 0-9-1 field names (spec 4.2.5.5)
SERVICE_HEADER = "evbus-service"  # its value is a service; the routing key is then the type of the event, as in nameko
KEY_HEADER = "evbus-key"  # the event's key, at destinations that have no other field for it
_MEANT = CHECKED | {SERVICE_HEADER}
_EXACT = frozenset((str, int, float, bool, bytes, type(None)))
LINE_BREAK = re.compile(r"[\r\n\0]")
SCALARS = (str, int, float, bool, bytes, type(None))
MAX_CARRIED = 16 * 1024  # bytes of the headers that a chain of events carries, as `header_bytes` counts
MAX_SERVICE = MAX_ROUTING_KEY - len(".events")  # bytes: the exchange, or topic, of a service's events has this suffix


FIELDS = (
    "body",
    "content_type",
    "headers",
    "id",
    "key",
    "packed",
    "profile",
    "quiet",
    "receipt",
    "routing_key",
    "seq",
    "size",
    "timestamp",
)


@speedups.fastest
class EventFields:
    """What an event holds. In C the garbage collector passes over those events that can be part of no cycle.

    Texts, numbers and bytes lead nowhere. Headers are the event's own dict of such values, and `packed` is a text and
    bytes. So `make` leaves an event untracked if the collector does not track its body either, and `untrack` does if
    that is bytes now. A receipt may lead back to the event, through the task that waits for it, and so may what an
    application does with a failed event: `attach` has it tracked from then on, and every Failure calls that.
    """

    __slots__ = FIELDS

    body: Any
    content_type: str
    headers: dict[str, Any] | None
    id: str
    key: str | bytes | None
    packed: tuple[str, bytes] | None
    profile: str
    quiet: bool
    receipt: Receipt | None  # to be set by `attach` alone
    routing_key: str
    seq: int
    size: int
    timestamp: float

    @classmethod
    def make(
        cls,
        prefix: str,
        number: int,
        routing_key: str,
        body: Any,
        profile: str,
        headers: dict[str, Any] | None,
        key: Any,
        quiet: bool,
    ) -> Self:
        """Make an event of plain values; the prefix and the number are its id."""
        event = cls.__new__(cls)
        event.fill(prefix, number, routing_key, body, profile, headers, key, quiet)
        return event

    def fill(
        self,
        prefix: str,
        number: int,
        routing_key: str,
        body: Any,
        profile: str,
        headers: dict[str, Any] | None,
        key: Any,
        quiet: bool,
    ) -> None:
        """Set all fields of a new event."""
        self.id = f"{prefix}{number:x}"
        self.routing_key = routing_key
        self.body = body
        self.profile = profile
        self.headers = headers
        self.key = key
        self.quiet = quiet
        self.timestamp = 0.0
        self.content_type = ""
        self.receipt = self.packed = None
        self.seq = self.size = 0

    def attach(self, receipt: Receipt | None) -> None:
        """Set the receipt; the collector goes over the event from now on."""
        self.receipt = receipt


@speedups.fastest
def untrack(events: list[Any]) -> None:
    """Let the collector pass over those of these events that have bytes as bodies, and no receipt."""


class Event(EventFields):
    """One event.

    `body` is the caller's object until the bus has serialized it, and `bytes` from then on. `id` is unique and
    the same for every attempt. `timestamp` is when it was accepted, in seconds since 1970. `quiet` events were put by
    an error callback or a log handler: their failures are counted but not reported, so that a report cannot cause
    another. `seq` is its number in the outbox, 0 if it is not there, and below 0 if a database of the application holds
    it. `size` is what the intake queue counts for it, and `packed` its body as bytes, with the name of the serializer,
    where that was found by serializing it.
    """

    __slots__ = ()

    def __init__(
        self,
        routing_key: str,
        body: Any,
        profile: str,
        headers: Mapping[str, Any] | None = None,
        key: str | bytes | None = None,
        quiet: bool = False,
    ) -> None:
        own = own_headers(headers) if headers else None  # the caller may change its own
        self.fill(prefix, next_number(), routing_key, body, profile, own, key, quiet)

    def copy(self) -> Event:
        """Return a copy with the same id, for lanes with another serializer."""
        copy = Event.make(prefix, 0, self.routing_key, self.body, self.profile, self.headers, self.key, self.quiet)
        copy.id, copy.content_type, copy.timestamp = self.id, self.content_type, self.timestamp
        copy.packed, copy.seq, copy.size = self.packed, self.seq, self.size
        copy.attach(self.receipt)
        return copy

    def __repr__(self) -> str:  # bodies and headers may hold secrets
        return f"<Event {self.id} routing_key={self.routing_key!r} profile={self.profile!r}>"


# True while an error callback or a log handler puts.
quietly: ContextVar[bool] = ContextVar("evbus_like_quietly", default=False)
quiet_context = quietly.get


def check(routing_key: Any, profile: Any, headers: Any, key: Any) -> int:
    """Return the bytes of the headers; raises BadEvent for values that no destination could use.

    The common case costs three type checks.
    """
    if not isinstance(routing_key, str):
        raise BadEvent(
            f"routing_key must be a string, not {type(routing_key).__name__};"
            " give the body by name: put(routing_key=..., body=..., profile=...)"
        )
    if not routing_key.isascii() or len(routing_key) > MAX_ROUTING_KEY:
        size = _size(routing_key)
        if size is None:
            raise BadEvent(f"routing_key {routing_key!a:.60} holds a lone surrogate, which is not valid UTF-8 text")
        if size > MAX_ROUTING_KEY:
            raise BadEvent(f"routing_key is longer than {MAX_ROUTING_KEY} bytes: {routing_key[:40]!r}...")
    if not isinstance(profile, str):
        raise BadEvent(f"profile must be a string, not {type(profile).__name__}: it is matched against profile names")
    if key is not None and not isinstance(key, (str, bytes)):
        raise BadEvent(f"key must be a string or bytes, not {type(key).__name__}")
    if isinstance(key, str) and _size(key) is None:
        raise BadEvent(f"key {key!a:.60} holds a lone surrogate, which is not valid UTF-8 text")
    return 0 if headers is None else _check_headers(headers)


def header_bytes(name: str, value: Any) -> int:
    """Return how many bytes a header takes at most, in the formats of the destinations."""
    if isinstance(value, str):
        size = len(value.encode(errors="replace"))
    elif isinstance(value, bytes):
        size = len(value)
    elif isinstance(value, list):
        size = sum(5 + len(str(item).encode(errors="replace")) for item in value)
    else:
        size = 8
    return 6 + len(name.encode(errors="replace")) + size


def _check_headers(headers: Any) -> int:
    """Return the bytes of the headers."""
    if not isinstance(headers, Mapping):
        raise BadEvent(f"headers must be a mapping of names to plain values, not {type(headers).__name__}")
    total = 0
    for name, value in headers.items():
        if not isinstance(name, str) or not 0 < (_size(name) or 0) <= MAX_HEADER_NAME:
            raise BadEvent(f"header names are UTF-8 text of 1 to {MAX_HEADER_NAME} bytes, not {shown(name)}")
        texts = value if isinstance(value, list) else [value] if isinstance(value, str) else ()
        if not isinstance(value, (*SCALARS, list)) or not all(isinstance(text, str) for text in texts):
            raise BadEvent(
                f"header {name!r} is a {type(value).__name__}; headers are str, int, float, bool, bytes, None"
                " or a list of str"
            )
        if any(_size(text) is None for text in texts):
            raise BadEvent(f"header {name!r} holds a lone surrogate, which is not valid UTF-8 text")
        if name in _MEANT and (problem := _meaning_problem(name, value)):
            raise BadEvent(f"header {name!r} {problem}")
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise BadEvent(f"header {name!r} is an int beyond 64 bits; send it as text")
        if isinstance(value, float) and not math.isfinite(value):
            raise BadEvent(f"header {name!r} is {value}, which RabbitMQ and JSON cannot hold; send None or text")
        total += header_bytes(name, value)
    return total


def _meaning_problem(name: str, value: Any) -> str:
    """Return what is wrong with a header that has a meaning here, or an empty string."""
    if name != SERVICE_HEADER:
        return header_problem(name, value)
    if _is_service(value):
        return ""
    return f"names a service: text of 1 to {MAX_SERVICE} bytes on one line, not {shown(value)}"


def _is_service(value: Any) -> bool:
    """Whether the value can name a service, of which destinations make names of exchanges and topics."""
    return isinstance(value, str) and 0 < (_size(value) or 0) <= MAX_SERVICE and not LINE_BREAK.search(value)


def own_headers(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Copy headers and the lists in them, as plain values."""
    return {
        name if type(name) is str else plain(name): value if type(value) in _EXACT else plain(value)
        for name, value in headers.items()
    }


def plain(value: Any) -> Any:
    """Return a text, a number, bytes, or a list or tuple of them, as exactly that type.

    A member of an enum becomes its value. As it is, `class Service(str, Enum)` prints names, and encoders know no
    subclasses.
    """
    if type(value) in _EXACT:
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, (list, tuple)):
        return (list if isinstance(value, list) else tuple)(map(plain, value))
    if isinstance(value, bytes):
        return bytes(memoryview(value))
    if isinstance(value, int):
        return int.__int__(value)
    return float.__float__(value) if isinstance(value, float) else value


def readable(key: str | bytes | None) -> str | bytes | None:
    """Return a key as text, as bytes if it is not UTF-8, and None if there is none."""
    if isinstance(key, bytes):
        try:
            return key.decode() or None
        except UnicodeDecodeError:
            return key
    return key or None


def service_headers(service: Any, event_type: Any, headers: Any = None) -> dict[str, Any]:
    """Return the headers of an event of a service, with the caller's own; raises BadEvent.

    The service replaces one that the caller's headers name, as the headers of a received event do.
    """
    for what, value in (("service", service), ("event_type", event_type)):
        if not isinstance(value, str):
            raise BadEvent(f"{what} must be a string, not {type(value).__name__}: dispatch(service, event_type, body)")
        if not value:
            raise BadEvent(f"{what} is empty; dispatch(service, event_type, body) needs the name of a {what}")
    if len(service.encode(errors="replace")) > MAX_SERVICE:
        raise BadEvent(f"service is longer than {MAX_SERVICE} bytes: {service[:40]!r}...")
    if headers is not None and not isinstance(headers, Mapping):
        raise BadEvent(f"headers must be a mapping of names to plain values, not {type(headers).__name__}")
    return {**(headers or {}), SERVICE_HEADER: plain(service)}


def service_of(event: Event) -> str | None:
    """Return the service of an event, None if it has none."""
    return event.headers.get(SERVICE_HEADER) if event.headers else None


def events_of(service: str) -> str:
    """Return the name of the exchange, or topic, of a service's events, as in nameko."""
    return f"{service}.events"


def _size(text: str) -> int | None:
    """Return the length of a text in bytes, None if it cannot be encoded."""
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return None


# A random prefix for the process and a counter, because uuid4 costs more than serializing a small body.
next_number = itertools.count(1).__next__
prefix = ""


def _renew_prefix() -> None:
    """Choose a prefix for this process; a forked child must not repeat its parent's ids."""
    global prefix
    prefix = f"{uuid.uuid4().hex[:20]}-"


_renew_prefix()
os.register_at_fork(after_in_child=_renew_prefix)

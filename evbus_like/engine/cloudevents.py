"""CloudEvents 1.0 (https://github.com/cloudevents/spec): the attributes of events that are sent and received.

In binary mode they are headers beside the body, in structured mode a JSON object is around it. The headers have the
names of the bindings: amqp-protocol-binding.md, kafka-protocol-binding.md, and `ce-` as in Knative's for RabbitMQ.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from evbus_like.engine.errors import ProfileError
from evbus_like.engine.event import Event, readable, service_of

VERSION = "1.0"
MEDIA = "application/cloudevents"
STRUCTURED = f"{MEDIA}+json"
FORMATS = ("cloudevents", "cloudevents-binary", "cloudevents-structured")
KAFKA, AMQP = "ce_", ("cloudEvents_", "cloudEvents:", "ce-")  # the first is what the specification prefers
PREFIXES = (*AMQP, KAFKA)
MARKS = frozenset(f"{prefix}specversion" for prefix in PREFIXES)  # headers that only CloudEvents have
RESERVED = ("specversion", "id", "datacontenttype", "data")  # headers that cannot be attributes of one's own
TEXTS = ("source", "type", "subject", "dataschema", "datacontenttype")  # attributes that are text, and not empty
SOURCE = "evbus_like"  # of events without a service, where the setting service_name is empty
TRACE = ("traceparent", "tracestate")  # the extension for distributed tracing has the headers' names
MOST, LONGEST = 100, 255  # attributes of an event, and characters of an id
INTEGERS = range(-(2**31), 2**31)
NAME = re.compile(r"[a-z0-9]{1,100}")  # with a prefix it is a header's name on RabbitMQ, of 128 bytes at most
ENVELOPE = 4096  # bytes of the attributes that every event has
CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\ufffe\uffff]")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII | re.IGNORECASE)
JSON_MEDIA = re.compile(r"(application|text)/([^;]+\+)?json\s*(;.*)?", re.IGNORECASE)

Attributes = dict[str, Any]


# ---- out


class CloudEvents:
    """Turns the events of a profile into CloudEvents; `prefix` is that of the headers in binary mode.

    Text, whole numbers, booleans and bytes among an event's headers become attributes, where a header's name can be
    that of one. All headers are sent as they are, too.
    """

    def __init__(self, prefix: str, structured: bool = False, source: str = "") -> None:
        self._prefix = prefix
        self._structured = structured
        self._source = source or SOURCE

    @classmethod
    def of(cls, acct: Mapping[str, Any], prefix: str, source: str = "") -> CloudEvents | None:
        """Return those of a profile, None if it has no `format`; raises ProfileError."""
        chosen = acct.get("format")
        if chosen is None:
            return None
        if chosen not in FORMATS:
            raise ProfileError(f"option format must be {' or '.join(FORMATS)}, not {chosen!r:.60}")
        structured = chosen == FORMATS[-1]
        if structured and acct.get("tombstones"):
            raise ProfileError("tombstones have no body, and a structured CloudEvent is one: use format: cloudevents")
        return cls(prefix, structured, source)

    def largest(self, most: int) -> int:
        """Return how large a body may be so that its event is no larger than `most` bytes: base64 makes it longer."""
        return max(1, most * 3 // 4 - ENVELOPE) if self._structured else most

    def attributes(self, event: Event) -> Attributes:
        """Return the attributes of an event that is sent; those of one's own that `refusal` would name are left out."""
        made: Attributes = {
            "specversion": VERSION,
            "id": event.id,
            "source": quote(service_of(event) or self._source, safe="/:?#[]@!$&'()*+,;=%"),
            "type": CONTROLS.sub(lambda found: quote(found[0]), event.routing_key or event.profile or "event"),
            "time": f"{datetime.fromtimestamp(event.timestamp, UTC):%Y-%m-%dT%H:%M:%S.%f}Z",
            "datacontenttype": event.content_type or "application/octet-stream",
        }
        key = readable(event.key)
        if key is not None and _is_value(key):
            made["partitionkey"] = key
            if isinstance(key, str):
                made["subject"] = key
        for name, value in (event.headers or {}).items():
            if NAME.fullmatch(name) and name not in RESERVED and _is_value(value) and not _problem(name, value):
                made[name] = value if type(value) is not int or value in INTEGERS else str(value)
        return made

    def converted(self, event: Event) -> Event:
        """Return a copy of an event whose body is bytes, as it is sent."""
        made = event.copy()
        attributes = self.attributes(event)
        if self._structured:
            made.body, made.content_type = _envelope(attributes, event.body), STRUCTURED
        else:
            del attributes["datacontenttype"]
            text = self._prefix == KAFKA
            own = {self._prefix + name: canonical(value) if text else value for name, value in attributes.items()}
            made.headers = {**(event.headers or {}), **own}
        return made

    def refusal(self, event: Event) -> str | None:
        """Return why a header of an event cannot be the attribute of its name, None if all can."""
        for name in (*TEXTS, "time"):
            if (event.headers and name in event.headers) and (why := _problem(name, event.headers[name])):
                return f"header {name!r} is an attribute of the CloudEvent: {why}"
        return None


def canonical(value: Any) -> str:
    """Return an attribute's value as text (the specification's Type System)."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def _is_value(value: Any) -> bool:
    if isinstance(value, str):
        return value != "" and not CONTROLS.search(value)
    return isinstance(value, (int, bytes))


def _envelope(attributes: Attributes, body: bytes) -> bytes:
    """Return the structured form; a JSON body is in it as it is."""
    plain = {name: canonical(value) if isinstance(value, bytes) else value for name, value in attributes.items()}
    head, media = json.dumps(plain, ensure_ascii=False).encode(), attributes["datacontenttype"]
    if JSON_MEDIA.fullmatch(media):
        return head[:-1] + b', "data": ' + body + b"}"
    if media.startswith("text/"):
        try:
            return head[:-1] + b', "data": ' + json.dumps(body.decode(), ensure_ascii=False).encode() + b"}"
        except UnicodeDecodeError:
            pass
    return head[:-1] + b', "data_base64": "' + base64.b64encode(body) + b'"}'


# ---- in


def of_headers(headers: Mapping[str, Any]) -> Attributes | None:
    """Return the attributes among a received event's headers, unchecked; None if it is no CloudEvent in binary mode."""
    prefix = next((each for each in PREFIXES if f"{each}specversion" in headers), None)
    if prefix is None:
        return None
    found = ((name[len(prefix) :].lower(), value) for name, value in headers.items() if name.startswith(prefix))
    return {name: value for name, value in found if NAME.fullmatch(name)}


def of_envelope(whole: Any) -> tuple[Attributes, Any]:
    """Return the attributes of a structured event, unchecked, and its data: bytes if it is `data_base64`.

    Raises ValueError.
    """
    if not isinstance(whole, Mapping):
        raise ValueError(f"a CloudEvent is an object, not a {type(whole).__name__}")
    attributes = {name: value for name, value in whole.items() if name not in ("data", "data_base64")}
    coded = whole.get("data_base64")
    if coded is None:
        return attributes, whole.get("data")
    if whole.get("data") is not None or not isinstance(coded, str):
        raise ValueError("a CloudEvent has either data, or text as data_base64")
    return attributes, base64.b64decode(coded, validate=True)


def checked(attributes: Attributes) -> Attributes:
    """Return received attributes without those that are null; raises ValueError, which quotes no value."""
    found = {name: value for name, value in attributes.items() if value is not None}
    if len(found) > MOST:
        raise ValueError(f"a CloudEvent of {len(found)} attributes; at most {MOST} are read")
    if isinstance(found.get("time"), int):
        found["time"] = _time_of(found["time"])
    if found.get("specversion") != VERSION:
        raise ValueError(f"a CloudEvent whose specversion is not {VERSION}")
    for name in ("id", "source", "type"):
        if name not in found:
            raise ValueError(f"a CloudEvent without the attribute {name}")
    for name, value in found.items():
        if not isinstance(value, (str, int, bytes)):
            raise ValueError(f"a CloudEvent whose attribute {name[:20]!a} is a {type(value).__name__}")
        if why := _problem(name, value):
            raise ValueError(f"a CloudEvent whose attribute {name} {why}")
    return found


def _problem(name: str, value: Any) -> str:
    """Return what is wrong with the value of an attribute that the specification knows, or an empty string."""
    if name in TEXTS or name == "id":
        return "" if isinstance(value, str) and value and not CONTROLS.search(value) else "must be text, not empty"
    if name == "time":
        try:
            if TIME.fullmatch(value):
                datetime.fromisoformat(value.upper())
                return ""
        except (TypeError, ValueError):
            pass
        return "must be a time as in RFC 3339, such as 2026-01-31T12:00:00Z"
    return ""


def _time_of(milliseconds: int) -> str:
    """Return AMQP's own form of a time (milliseconds since 1970) as text; raises ValueError."""
    try:
        moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (OverflowError, OSError, ValueError):
        raise ValueError("a CloudEvent whose attribute time is out of range") from None
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03d}Z"


def peeked(headers: Mapping[str, Any], content_type: Any, raw: bytes | None) -> Attributes:
    """Return id and type of an event as far as they can be read before it is decoded; empty if it is no CloudEvent.

    Other parts of a structured event are skipped, and no objects made of them.
    """
    if not MARKS.isdisjoint(headers):
        return dict(_short(of_headers(headers) or {}))
    if not is_structured(content_type):
        return {}
    from evbus_like.engine.receiving.peek import peek  # it imports msgspec, which few programs need

    return dict(_short(peek(raw or b"")))


def _short(found: Attributes) -> Iterator[tuple[str, str]]:
    for name in ("id", "type"):
        value = found.get(name)
        if isinstance(value, str) and 0 < len(value) <= LONGEST:
            yield name, value


def is_structured(content_type: Any) -> bool:
    """Whether a content type is that of a CloudEvent in structured mode, in JSON."""
    if not isinstance(content_type, str) or content_type[: len(MEDIA)].lower() != MEDIA:
        return False
    return content_type.partition(";")[0].strip().lower() in (MEDIA, STRUCTURED)


def with_trace(headers: dict[str, Any]) -> dict[str, Any]:
    """Return the headers of a CloudEvent in binary mode, with its trace as handlers carry it on."""
    found = of_headers(headers) or {}
    return {**{name: found[name] for name in TRACE if name in found}, **headers}

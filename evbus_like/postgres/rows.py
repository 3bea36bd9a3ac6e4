"""Rows of the outbox: an event as the values of its columns, and back."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import orjson

from evbus_like.engine.errors import BadEvent
from evbus_like.engine.event import SERVICE_HEADER, Event

ELSEWHERE = -1  # the number, `Event.seq`, of an event that is in the application's database
COLUMNS = ("part", "event_id", "profile", "service", "routing_key", "key", "headers", "content_type", "body")
BYTES = "bytes"  # a header that is bytes is {"bytes": base64} in JSON; headers are no mappings otherwise

Key = tuple[int, int, str]  # part, id, event id: the event id, because a restored database gives the same ids again


# A row as the relay reads it. A plain tuple, since there are many: part, id, event id, profile, service, routing key,
# key, headers, content type, body, and when it was put, in seconds since 1970.
Row = tuple[int, int, str, str, str | None, str, bytes | None, str | None, str, bytes, float]
BODY: Final = 9  # the place of the body


Done = dict[int, tuple[list[int], list[str]]]  # many keys: of each part the ids, and the event ids


class Late(NamedTuple):
    """Rows at or below the last ids that were read, and the transactions that ran when they were looked for."""

    oldest: int  # the oldest transaction that is still running: all before it have ended
    newest: int  # the next transaction
    keys: list[Key]


class Dead(NamedTuple):
    """A row that a destination gave up; `keep` is False if its dead letter is kept elsewhere."""

    key: Key
    destination: str
    reason: str
    keep: bool


def values(event: Event, parts: int) -> tuple[Any, ...]:
    """Return the values of the columns of a serialized event; raises BadEvent for what PostgreSQL cannot hold."""
    key = event.key.encode() if isinstance(event.key, str) else event.key
    headers, service, text = event.headers, None, None
    if headers:
        if SERVICE_HEADER in headers:
            service = headers[SERVICE_HEADER]
            headers = {name: value for name, value in headers.items() if name != SERVICE_HEADER}
        text = orjson.dumps(headers, default=_bytes).decode() if headers else None
    for name, value in (("profile", event.profile), ("service", service), ("routing_key", event.routing_key)):
        if value is not None and "\0" in value:
            raise BadEvent(f"{name} {value[:40]!r} has a NUL character, which PostgreSQL cannot store")
    part = zlib.crc32(event.routing_key.encode() if key is None else key) % parts
    return part, event.id, event.profile, service, event.routing_key, key, text, event.content_type, event.body


def _bytes(value: Any) -> Any:
    if isinstance(value, bytes):
        return {BYTES: base64.b64encode(value).decode()}
    raise TypeError


def headers_of(service: str | None, text: str | None) -> dict[str, Any] | None:
    """Return an event's headers from two columns; raises ValueError if the second holds something else."""
    headers: dict[str, Any] = {}
    if text is not None:
        headers = orjson.loads(text)
        if not isinstance(headers, dict):
            raise ValueError("the column headers is no JSON object")
        for name, value in headers.items():
            if isinstance(value, dict):
                headers[name] = base64.b64decode(_encoded(value), validate=True)
    if service is not None:
        headers[SERVICE_HEADER] = service
    return headers or None


def _encoded(value: Mapping[str, Any]) -> str:
    found = value.get(BYTES)
    if len(value) != 1 or not isinstance(found, str):
        raise ValueError("a header is a JSON object other than {'bytes': base64}")
    return found


def key_of(raw: bytes | None) -> str | bytes | None:
    """Return an event's key: text where it is UTF-8."""
    if raw is None:
        return None
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw

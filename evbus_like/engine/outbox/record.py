"""Records: an event as a row of the outbox, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from zlib import crc32

import msgpack

from evbus_like.engine.errors import BadEvent
from evbus_like.engine.event import Event

COLUMNS = ("id", "routing_key", "profile", "headers", "key", "content_type", "timestamp", "size", "crc", "body")
SIZE: Final = 7  # their places in a row
CRC: Final = 8
BODY: Final = 9
OVERHEAD = 128  # bytes that a row costs besides what it holds: 100,000 events of 500 bytes make a file of 66 MiB

Row = tuple[str, str, str, bytes | None, str | bytes | None, str, float, int, int, bytes]


def pack(event: Event) -> Row:
    """Turn a serialized event into a row; raises BadEvent for what no file can hold."""
    body = event.body
    if type(body) is not bytes:
        raise BadEvent(f"the outbox takes serialized events; the body of {event.id} is a {type(body).__name__}")
    key = event.key
    texts = event.id + event.routing_key + event.profile + event.content_type
    if not texts.isascii() or (type(key) is str and not key.isascii()):
        _check_text(event)
    size = OVERHEAD + len(texts) + len(body)
    if key is not None:
        size += len(key)
    headers: bytes | None = None
    if event.headers is not None:
        headers = msgpack.packb(event.headers)
        size += len(headers)
    return (
        event.id,
        event.routing_key,
        event.profile,
        headers,
        key,
        event.content_type,
        event.timestamp,
        size,
        crc32(body, crc32(f"{texts}{headers!r}{key!r}".encode())),
        body,
    )


def unpack(row: Sequence[Any]) -> Event:
    """Turn a row, or the columns of one, back into the event; it is not quiet and nobody waits for it."""
    id_, routing_key, profile, headers, key, content_type, timestamp, _, _, body = row
    event = Event(routing_key, body, profile, None, key)
    event.id = id_
    event.headers = None if headers is None else msgpack.unpackb(headers)
    event.content_type = content_type
    event.timestamp = timestamp
    return event


def is_intact(row: Sequence[Any]) -> bool:
    """Whether a row still is what was written: SQLite has checksums in its log only."""
    id_, routing_key, profile, headers, key, content_type, _, _, crc, body = row
    found: bool = crc == crc32(body, crc32(f"{id_}{routing_key}{profile}{content_type}{headers!r}{key!r}".encode()))
    return found


def is_sound(row: Sequence[Any]) -> bool:
    """Whether a row out of a damaged file is one that `pack` has made."""
    id_, routing_key, profile, headers, key, content_type, timestamp, size, _, body = row
    if not all(type(text) is str for text in (id_, routing_key, profile, content_type)):
        return False
    if type(timestamp) is not float or type(size) is not int or type(body) is not bytes or not id_:
        return False
    if not isinstance(key, str | bytes | None) or not isinstance(headers, bytes | None):
        return False
    try:
        return (headers is None or isinstance(msgpack.unpackb(headers), dict)) and is_intact(row)
    except ValueError:  # the root of msgpack's own errors as well
        return False


def _check_text(event: Event) -> None:
    for name in ("id", "routing_key", "profile", "content_type", "key"):
        value = getattr(event, name)
        if isinstance(value, str):
            try:
                value.encode()
            except UnicodeEncodeError:
                raise BadEvent(f"{name} {value!a:.60} holds a lone surrogate, which is not valid UTF-8 text") from None

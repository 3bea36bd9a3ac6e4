"""Rows: the event of a dead letter as columns, so that dead letters can be filtered by them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from zlib import crc32

import msgpack

from evbus_like.engine.event import Event
from evbus_like.engine.outbox import record

COLUMNS = ("id", "routing_key", "profile", "headers", "key", "content_type", "timestamp", "size", "crc", "body")
SIZE: Final = 7  # their places in a row
CRC: Final = 8
BODY: Final = 9

Row = tuple[str, str, str, bytes | None, str | bytes | None, str, float, int, int, bytes]


def pack(event: Event) -> Row:
    """Turn a serialized event into a row, with the size that it has as a pending event; raises BadEvent."""
    size = record.size(record.pack(event))
    headers = None if event.headers is None else msgpack.packb(event.headers)
    row = (event.id, event.routing_key, event.profile, headers, event.key, event.content_type, event.timestamp, size)
    return (*row, _checksum(row, event.body), event.body)


def unpack(row: Sequence[Any]) -> Event:
    """Turn a row back into the event."""
    id_, routing_key, profile, packed, key, content_type, timestamp, _, _, body = row
    headers = None if packed is None else msgpack.unpackb(packed)
    return record.make(id_, routing_key, profile, headers, key, content_type, body, timestamp)


def is_intact(row: Sequence[Any]) -> bool:
    """Whether a row is what was written; SQLite has checksums in its log only."""
    found: bool = row[CRC] == _checksum(row, row[BODY])
    return found


def is_sound(row: Sequence[Any]) -> bool:
    """Whether a row of a damaged file is one that `pack` made."""
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


def _checksum(row: Sequence[Any], body: bytes) -> int:
    id_, routing_key, profile, headers, key, content_type = row[:6]
    return crc32(body, crc32(f"{id_}{routing_key}{profile}{content_type}{headers!r}{key!r}".encode()))

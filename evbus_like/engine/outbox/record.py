"""Records: an event as bytes of the outbox, and back.

A record is the length of what follows the first 16 bytes (4 bytes), a CRC-32 of all that follows it (4 bytes), the
event's time (IEEE 754 double; all three big-endian), and a msgpack array of the event's fields. Each record has a
checksum because SQLite has checksums in its log only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from struct import Struct
from typing import Any
from zlib import crc32

import msgpack

from evbus_like.engine.errors import BadEvent
from evbus_like.engine.event import Event

OVERHEAD = 128  # bytes an event costs besides its record: 2000 events of 500 bytes make a file of 1.4 MB
TEXTS = ("id", "routing_key", "profile", "content_type", "key")

_HEAD = Struct(">II8s")
_TIME = Struct(">d")
# Bound once: they are called for every put. A packer keeps as much memory as the largest of what it packs.
_pack_time, _pack_head, _pack, _pack_small = _TIME.pack, _HEAD.pack, msgpack.packb, msgpack.Packer().pack
SMALL = 4096  # bytes of a body


def pack(event: Event) -> bytes:
    """Turn a serialized event into a record; raises BadEvent for what the outbox cannot hold."""
    body = event.body
    if type(body) is not bytes:
        raise BadEvent(f"the outbox takes serialized events; the body of {event.id} is a {type(body).__name__}")
    try:
        packed = _pack_small if len(body) <= SMALL else _pack
        held = packed((event.id, event.routing_key, event.profile, event.headers, event.key, event.content_type, body))
        time = _pack_time(event.timestamp)
    except (ValueError, TypeError, OverflowError) as error:
        _check_text(event)
        raise BadEvent(f"the outbox cannot hold the event {event.id}: {error}") from error
    record: bytes = _pack_head(len(held), crc32(held, crc32(time)), time) + held
    return record


def size(record: bytes) -> int:
    """Give the bytes that a record counts in the outbox."""
    return len(record) + OVERHEAD


def time_of(record: bytes) -> float:
    """Give when the event of a record was accepted, in seconds since 1970."""
    time: float = _TIME.unpack_from(record, 8)[0]
    return time


def unpack(record: bytes) -> Event:
    """Turn an intact record back into the event."""
    id_, routing_key, profile, headers, key, content_type, body = msgpack.unpackb(memoryview(record)[_HEAD.size :])
    return make(id_, routing_key, profile, headers, key, content_type, body, time_of(record))


def make(
    id_: str,
    routing_key: str,
    profile: str,
    headers: Mapping[str, Any] | None,
    key: str | bytes | None,
    content_type: str,
    body: bytes,
    timestamp: float,
) -> Event:
    """Make an event from its stored fields, without a receipt."""
    event = Event(routing_key, body, profile, None, key)
    event.id = id_
    event.headers = None if headers is None else dict(headers)
    event.content_type = content_type
    event.timestamp = timestamp
    return event


def is_intact(record: bytes) -> bool:
    """Whether the bytes are one record, as it was written."""
    return list(_walk(record)) == [(record, True)]


def remains(record: bytes, seq: int) -> Event:
    """Make an event from a damaged record: its fields if they are readable, else the bytes as a body."""
    try:
        event = unpack(record)
        pack(event)
        if all(isinstance(getattr(event, name), str) for name in TEXTS[:-1]):
            return event
    except Exception:  # the bytes may hold anything
        pass
    return make(f"damaged-{seq}", "", "", None, None, "", record, 0.0)


def split(records: bytes, count: int) -> list[tuple[bytes, bool]]:
    """Split a segment into its `count` records, each with whether it is intact."""
    found = list(_walk(records))
    whole = sum(len(record) for record, _ in found) == len(records)
    if whole and (len(found) == count or (len(found) > count and all(intact for _, intact in found))):
        return found  # the count is damaged, the records are right
    return [(records, False)] if count == 1 else _mend(records, count)


def _walk(records: bytes) -> Iterator[tuple[bytes, bool]]:
    at, end = 0, len(records)
    while at + _HEAD.size <= end:
        length, crc, time = _HEAD.unpack_from(records, at)
        record = records[at : at + _HEAD.size + length]
        whole = len(record) == _HEAD.size + length
        yield record, whole and crc == crc32(memoryview(record)[_HEAD.size :], crc32(time))
        at += len(record)


def _mend(records: bytes, count: int) -> list[tuple[bytes, bool]]:
    """Find the intact records wherever they begin: a damaged length hides where the next begins.

    Each hole counts as one damaged record; the rest of `count` is put at the last hole.
    """
    found: list[tuple[bytes, bool]] = []
    at = hole = last = 0
    while at < len(records):
        record, intact = next(_walk(records[at:]), (b"", False))
        if not intact:
            at += 1
            continue
        if hole < at:
            found.append((records[hole:at], False))
            last = len(found)
        found.append((record, True))
        at = hole = at + len(record)
    if hole < at:
        found.append((records[hole:], False))
    if not last or not found[-1][1]:
        last = len(found)
    found[last:last] = [(b"", False)] * (count - len(found))
    return found[:count]


def _check_text(event: Event) -> None:
    for name in TEXTS:
        value = getattr(event, name)
        if isinstance(value, str):
            try:
                value.encode()
            except UnicodeEncodeError:
                raise BadEvent(f"{name} {value!a:.60} holds a lone surrogate, which is not valid UTF-8 text") from None

"""A message's properties: read as far as a handler needs them, and changed for a copy; the rest stays byte for byte."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from struct import Struct
from struct import error as struct_error
from typing import Any

from evbus_like.amqp.codec import entries, pack_table, read_shortstr, read_table

# Which properties are present, by the bits of their flags (the specification's 4.2.6.1), in the order of the wire.
CONTENT_TYPE, CONTENT_ENCODING, HEADERS, DELIVERY_MODE, PRIORITY = 1 << 15, 1 << 14, 1 << 13, 1 << 12, 1 << 11
CORRELATION_ID, REPLY_TO, EXPIRATION, MESSAGE_ID, TIMESTAMP = 1 << 10, 1 << 9, 1 << 8, 1 << 7, 1 << 6
TYPE, USER_ID, APP_ID, CLUSTER_ID = 1 << 5, 1 << 4, 1 << 3, 1 << 2
ORDER = (
    *(CONTENT_TYPE, CONTENT_ENCODING, HEADERS, DELIVERY_MODE, PRIORITY, CORRELATION_ID, REPLY_TO, EXPIRATION),
    *(MESSAGE_ID, TIMESTAMP, TYPE, USER_ID, APP_ID, CLUSTER_ID),
)
PERSISTENT = b"\x02"

_short = Struct(">H")
_long = Struct(">I")
_longlong = Struct(">Q").unpack_from


class Properties:
    """The properties of one message; `raw` are their bytes as they arrived, flags first."""

    __slots__ = ("parts", "raw")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.parts: dict[int, bytes] = {}
        with suppress(IndexError, struct_error):  # cut short: keep what is there
            self._split()

    def _split(self) -> None:
        raw, at = self.raw, 2
        flags = _short.unpack_from(raw)[0]
        for flag in ORDER:
            if not flags & flag:
                continue
            if flag == HEADERS:
                end = at + 4 + _long.unpack_from(raw, at)[0]
            elif flag in (DELIVERY_MODE, PRIORITY):
                end = at + 1
            elif flag == TIMESTAMP:
                end = at + 8
            else:
                end = at + 1 + raw[at]
            if end > len(raw):
                return
            self.parts[flag] = raw[at:end]
            at = end

    def text(self, flag: int) -> str:
        """Return a property that is a short string; empty if it is missing."""
        part = self.parts.get(flag)
        return read_shortstr(part, 0)[0] if part else ""

    @property
    def timestamp(self) -> float:
        """The timestamp in seconds since 1970, 0.0 where there is none."""
        part = self.parts.get(TIMESTAMP)
        return float(_longlong(part)[0]) if part else 0.0

    @property
    def headers(self) -> dict[str, Any]:
        """The headers as plain data."""
        part = self.parts.get(HEADERS)
        return read_table(part[4:]) if part else {}

    def copy(self, without: Collection[str], added: Mapping[str, Any]) -> bytes:
        """Encode the properties of a persistent copy, without some headers and with others added.

        The expiration is not copied, because the copy would expire too, nor the user id, which RabbitMQ accepts from
        that user alone. Everything else stays as it was.
        """
        parts = {flag: part for flag, part in self.parts.items() if flag not in (EXPIRATION, USER_ID)}
        kept = (
            b"".join(_kept(parts[HEADERS][4:], lambda name: name in without or name in added))
            if HEADERS in parts
            else b""
        )
        parts[HEADERS] = pack_table(added, kept)
        parts[DELIVERY_MODE] = PERSISTENT
        flags = sum(parts)
        return _short.pack(flags) + b"".join(parts[flag] for flag in ORDER if flag in parts)


def _kept(table: bytes, left_out: Callable[[str], bool]) -> list[bytes]:
    found: list[bytes] = []
    with suppress(IndexError, ValueError, struct_error):  # the table is broken here: RabbitMQ would refuse the rest
        for name, entry in entries(table):
            if not left_out(name):
                found.append(entry)
    return found

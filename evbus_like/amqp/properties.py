"""A message's properties: read as far as a handler needs them; a copy has the rest byte for byte."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from struct import Struct
from struct import error as struct_error
from typing import Any

from evbus_like.amqp.codec import ForeignText, entries, pack_shortstr, read_table

# Which properties are present, by the bits of their flags (the specification's 4.2.6.1), in the order of the wire.
CONTENT_TYPE, CONTENT_ENCODING, HEADERS, DELIVERY_MODE, PRIORITY = 1 << 15, 1 << 14, 1 << 13, 1 << 12, 1 << 11
CORRELATION_ID, REPLY_TO, EXPIRATION, MESSAGE_ID, TIMESTAMP = 1 << 10, 1 << 9, 1 << 8, 1 << 7, 1 << 6
TYPE, USER_ID, APP_ID, CLUSTER_ID = 1 << 5, 1 << 4, 1 << 3, 1 << 2
ORDER = (
    *(CONTENT_TYPE, CONTENT_ENCODING, HEADERS, DELIVERY_MODE, PRIORITY, CORRELATION_ID, REPLY_TO, EXPIRATION),
    *(MESSAGE_ID, TIMESTAMP, TYPE, USER_ID, APP_ID, CLUSTER_ID),
)
SIZES = {DELIVERY_MODE: 1, PRIORITY: 1, TIMESTAMP: 8}  # bytes; the others say their own
PERSISTENT = b"\x02"
NOT_COPIED = (HEADERS, EXPIRATION, USER_ID)
DIRECT_REPLY = pack_shortstr("amq.rabbitmq.reply-to")

_pack_short, _short = Struct(">H").pack, Struct(">H").unpack_from
_long = Struct(">I").unpack_from
_longlong = Struct(">Q").unpack_from


@lru_cache(maxsize=1000)
def _fields(flags: int) -> list[tuple[int, int]]:
    """Return the properties that are present, in the order of the wire, and the bytes of those of a fixed size."""
    return [(flag, SIZES.get(flag, 0)) for flag in ORDER if flags & flag]


class Properties:
    """The properties of one message; `raw` are their bytes as they arrived, flags first."""

    __slots__ = ("parts", "raw")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.parts: dict[int, bytes] = {}
        try:  # noqa: SIM105 - `suppress` costs as much as the rest
            self._split()
        except (IndexError, struct_error):  # cut short: keep what is there
            pass

    def _split(self) -> None:
        raw, at = self.raw, 2
        parts, whole = self.parts, len(raw)
        for flag, size in _fields(_short(raw)[0]):
            if size:
                end = at + size
            elif flag == HEADERS:
                end = at + 4 + _long(raw, at)[0]
            else:
                end = at + 1 + raw[at]
            if end > whole:
                return
            parts[flag] = raw[at:end]
            at = end

    def text(self, flag: int) -> str:
        """Return a property that is a short string; empty if it is missing."""
        part = self.parts.get(flag)
        return part[1:].decode(errors="backslashreplace") if part else ""  # as `read_shortstr`

    @property
    def correlation_id(self) -> str:
        """The correlation id. Some clients take random bytes, and know an answer by these alone."""
        text = self.text(CORRELATION_ID)
        if "\\" in text and (raw := self.parts[CORRELATION_ID][1:]) != text.encode():
            text = ForeignText(text)
            text.raw = raw
        return text

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

    def entries(self) -> Iterator[tuple[str, bytes]]:
        """Yield each header: its name, and its encoded bytes; raises where they are not a table."""
        part = self.parts.get(HEADERS)
        return entries(part[4:]) if part else iter(())

    @property
    def copied(self) -> dict[int, bytes]:
        """What a copy may have of the properties, but the headers.

        The expiration is not copied, because the copy would expire too; nor the user id, which RabbitMQ accepts from
        that user alone; nor the address of a reply that RabbitMQ accepts on the caller's own channel alone.
        """
        parts = {flag: part for flag, part in self.parts.items() if flag not in NOT_COPIED}
        if parts.get(REPLY_TO) == DIRECT_REPLY:
            del parts[REPLY_TO]
        return parts


def encode(parts: Mapping[int, bytes]) -> bytes:
    """Encode the properties of a persistent message."""
    parts = {**parts, DELIVERY_MODE: PERSISTENT}
    return _pack_short(sum(parts)) + b"".join(parts[flag] for flag in ORDER if flag in parts)

"""The AMQP 0-9-1 wire format: frames and field tables, both ways.

Written by hand: encoding a message takes a tenth of pamqp's time, and RabbitMQ passes on properties that pamqp cannot
decode. RabbitMQ validates neither short strings nor timestamps, so a publisher may send text that is not UTF-8, or a
year that no calendar has; no reader here raises for them. Source of the format: the AMQP 0-9-1 specification, 2.3.5
(frames), 4.2 (wire format), 1.8.3.7 (basic.publish), and RabbitMQ's errata for the types of header values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from struct import Struct
from struct import error as struct_error
from typing import Any

END = b"\xce"
METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8  # types of frames
BASIC, PUBLISH = 60, 40
LONGEST_NAME = 255  # bytes: names are short strings
BEFORE = 12  # bytes of a header frame before the properties
DEEPEST = 32  # tables within tables

pack_frame = Struct(">BHI").pack  # type, channel, size
pack_header = Struct(">HHQ").pack  # class, weight, body size
_pack_ids = Struct(">HHH").pack
_pack_long = Struct(">I").pack
_pack_signed = Struct(">q").pack
_pack_double = Struct(">d").pack
_long = Struct(">I").unpack_from
_longlong = Struct(">Q").unpack_from
_decimal = Struct(">Bi").unpack_from
_numbers = {
    kind: (fmt.unpack_from, fmt.size)
    for kind, fmt in {
        ord("b"): Struct(">b"),
        ord("B"): Struct(">B"),
        ord("s"): Struct(">h"),
        ord("u"): Struct(">H"),
        ord("I"): Struct(">i"),
        ord("i"): Struct(">I"),
        ord("l"): Struct(">q"),
        ord("L"): Struct(">q"),
        ord("f"): Struct(">f"),
        ord("d"): Struct(">d"),
    }.items()
}

_sizes = {ord("t"): 1, ord("V"): 0, ord("T"): 8, ord("D"): 5}


def pack_shortstr(text: str) -> bytes:
    """Encode a short string; raises ValueError beyond 255 bytes."""
    data = text.raw if type(text) is ForeignText else text.encode()
    return bytes([len(data)]) + data


# For names that come again and again, as those of headers; a short string of another type may have other bytes.
pack_name = lru_cache(maxsize=1000, typed=True)(pack_shortstr)


def pack_table(values: Mapping[str, Any], kept: bytes = b"") -> bytes:
    """Encode a field table, its length first; `kept` are encoded entries that come after the others."""
    parts: list[bytes] = []
    for name, value in values.items():
        if type(value) is str:  # as `pack_value` does, whose call would cost as much
            data = value.encode()
            parts += pack_name(name), b"S", _pack_long(len(data)), data
        else:
            parts += pack_name(name), pack_value(value)
    table = b"".join(parts) + kept
    return _pack_long(len(table)) + table


def pack_value(value: Any) -> bytes:
    """Encode one header value with its type; ints are 64 bits wide and floats double, so that none loses anything."""
    if isinstance(value, str):
        data = value.encode()
        return b"S" + _pack_long(len(data)) + data
    if isinstance(value, bool):
        return b"t\x01" if value else b"t\x00"
    if isinstance(value, int):
        return b"l" + _pack_signed(value)
    if isinstance(value, float):
        return b"d" + _pack_double(value)
    if isinstance(value, bytes):
        return b"x" + _pack_long(len(value)) + value
    if isinstance(value, list):
        items = b"".join(map(pack_value, value))
        return b"A" + _pack_long(len(items)) + items
    return b"V"


def publish_method(exchange: str, routing_key: str, mandatory: bool) -> bytes:
    """Encode basic.publish; raises ValueError for a name of more than 255 bytes."""
    place = pack_shortstr(exchange) + pack_shortstr(routing_key)
    return _pack_ids(BASIC, PUBLISH, 0) + place + (b"\x01" if mandatory else b"\x00")


def content_frames(channel: int, most: int, method: bytes, properties: bytes, body: bytes) -> bytes:
    """Encode a message for a channel whose frames hold `most` bytes of body."""
    header = pack_header(BASIC, 0, len(body)) + properties
    frames = [pack_frame(METHOD, channel, len(method)), method, END]
    frames += [pack_frame(HEADER, channel, len(header)), header, END]
    for at in range(0, len(body), most):
        piece = body[at : at + most]
        frames += [pack_frame(BODY, channel, len(piece)), piece, END]
    return b"".join(frames)


class Content:
    """Joins the header and the body frames of a message; `done` is called with its properties and its body."""

    __slots__ = ("_done", "_left", "_pieces", "_properties")

    def __init__(self, done: Callable[[bytes, bytes], Any]) -> None:
        self._done = done
        self._properties = b""
        self._pieces: list[bytes] = []
        self._left = -1

    def header(self, payload: bytes) -> None:
        """Take the content's header (the specification's 2.3.5.2)."""
        self._properties, self._left = payload[12:], _longlong(payload, 4)[0]
        self._check()

    def body(self, payload: bytes) -> None:
        """Take a piece of its body."""
        self._pieces.append(payload)
        self._left -= len(payload)
        self._check()

    def _check(self) -> None:
        if self._left > 0:
            return
        pieces, self._pieces = self._pieces, []
        self._done(self._properties, pieces[0] if len(pieces) == 1 else b"".join(pieces))


class ForeignText(str):
    """Text that was read from bytes that are not UTF-8, with escapes; an answer repeats the bytes, `raw`."""

    raw: bytes


def read_shortstr(data: bytes, at: int) -> tuple[str, int]:
    """Read a short string; returns it and the offset behind it. Bytes that are not UTF-8 become escapes."""
    end = at + 1 + data[at]
    return data[at + 1 : end].decode(errors="backslashreplace"), end


def entries(table: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the encoded bytes, name included, of each entry of a field table without its length."""
    at = 0
    while at < len(table):
        name, start = read_shortstr(table, at)
        end = _behind(table, start)
        yield name, table[at:end]
        at = end


def _behind(data: bytes, at: int) -> int:
    """Return the offset behind a value, however deep it is."""
    kind, at = data[at], at + 1
    number = _numbers.get(kind)
    if number is not None:
        end = at + number[1]
    elif kind in b"SxFA":
        end = _span(data, at)[1]
    elif kind in _sizes:
        end = at + _sizes[kind]
    else:
        raise ValueError(f"unknown type {kind}")
    if end > len(data):
        raise ValueError("longer than its table")
    return end


def read_table(table: bytes) -> dict[str, Any]:
    """Read a field table, without its length, as plain data, up to the first entry that is broken.

    An entry that is nested too deeply is left out.
    """
    found: dict[str, Any] = {}
    at, whole = 0, len(table)
    try:  # `suppress` costs as much as the entry of a text
        while at < whole:
            end = at + 1 + table[at]
            name = table[at + 1 : end].decode(errors="backslashreplace")
            if table[end] == 0x53:  # a text, as most are: `_value` in place, whose calls would cost as much
                at, end = _span(table, end + 1)
                raw = table[at:end]
                try:
                    found[name] = raw.decode()
                except UnicodeDecodeError:
                    found[name] = raw
                at = end
                continue
            try:
                found[name], at = _value(table, end, 0)
            except ValueError:
                at = _behind(table, end)
    except (IndexError, ValueError, struct_error):
        pass
    return found


def _value(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    kind, at = data[at], at + 1
    number = _numbers.get(kind)
    if number is not None:
        return number[0](data, at)[0], at + number[1]
    if kind == 0x53 or kind == 0x78:  # S, x: texts, and bytes
        at, end = _span(data, at)
        raw = data[at:end]
        return _text(raw) if kind == 0x53 else raw, end
    if kind == 0x74:  # t
        return data[at] != 0, at + 1
    if kind == 0x56:  # V
        return None, at
    if kind == 0x54:  # T
        return _moment(_longlong(data, at)[0]), at + 8
    if kind == 0x44:  # D
        places, digits = _decimal(data, at)
        return str(Decimal(digits).scaleb(-places)), at + 5
    if kind == 0x46 or kind == 0x41:  # F, A: tables and arrays
        if depth == DEEPEST:
            raise ValueError("tables are nested too deeply")
        at, end = _span(data, at)
        return (_table if kind == 0x46 else _array)(data, at, end, depth + 1), end
    raise ValueError(f"unknown type {kind}")


def _span(data: bytes, at: int) -> tuple[int, int]:
    start = at + 4
    end: int = start + _long(data, at)[0]
    if end > len(data):
        raise ValueError("longer than its container")
    return start, end


def _table(data: bytes, at: int, end: int, depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    while at < end:
        name, at = read_shortstr(data, at)
        found[name], at = _value(data, at, depth)
    return found


def _array(data: bytes, at: int, end: int, depth: int) -> list[Any]:
    found = []
    while at < end:
        value, at = _value(data, at, depth)
        found.append(value)
    return found


def _text(raw: bytes) -> str | bytes:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def _moment(seconds: int) -> str | int:
    """Return a timestamp as ISO text, or as its number if no calendar has it."""
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return seconds

"""What arrives of a message, read by hand: RabbitMQ passes on properties that pamqp cannot decode, and so can we.

RabbitMQ looks into no short string and no timestamp, so a publisher may send text that is not UTF-8, or a year that no
calendar has. Nothing here raises for them. Source of the format: as for `frames.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from struct import Struct
from struct import error as struct_error
from typing import Any

_short = Struct(">H").unpack_from
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
DEEPEST = 32  # tables within tables


def shortstr(data: bytes, at: int) -> tuple[str, int]:
    """Read a short string, and give it with the place behind it; bytes that are not UTF-8 are shown as escapes."""
    end = at + 1 + data[at]
    return data[at + 1 : end].decode(errors="backslashreplace"), end


def entries(table: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the entries of a field table (without its length) as their names and their very bytes, name included."""
    at = 0
    while at < len(table):
        name, start = shortstr(table, at)
        _, end = _value(table, start, 0)
        yield name, table[at:end]
        at = end


def plain(table: bytes) -> dict[str, Any]:
    """Read a field table (without its length) as plain data; what cannot be read, and all behind it, is left out."""
    found: dict[str, Any] = {}
    at = 0
    with suppress(IndexError, ValueError, struct_error):
        while at < len(table):
            name, at = shortstr(table, at)
            found[name], at = _value(table, at, 0)
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
            raise ValueError("tables within tables within tables")
        at, end = _span(data, at)
        return (_table if kind == 0x46 else _array)(data, at, end, depth + 1), end
    raise ValueError(f"unknown type {kind}")


def _span(data: bytes, at: int) -> tuple[int, int]:
    start = at + 4
    end: int = start + _long(data, at)[0]
    if end > len(data):
        raise ValueError("longer than what holds it")
    return start, end


def _table(data: bytes, at: int, end: int, depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    while at < end:
        name, at = shortstr(data, at)
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
    """Give a timestamp as ISO text; as the number that it is where no calendar has it."""
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return seconds

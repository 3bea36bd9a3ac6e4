"""JSON, by orjson: fast, and strict UTF-8. The reference on serializers has the table of types."""

import re
from typing import Any

import orjson

from evbus_like import plugin, speedups
from evbus_like.engine import values
from evbus_like.hub import decoding

__virtualname__ = "json"
CONTENT_TYPE = "application/json"

# The table of types, not the library, decides about dates, dataclasses and subclasses.
OPTIONS = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_SUBCLASS
SMALL = 4096  # bytes
COPIED = 65536  # bytes; a copy of more costs more than it saves
BOM = b"\xef\xbb\xbf"
WALK_FIRST = speedups.IN_C  # a walk in C takes no longer than the search for a null
LEAST_ELEMENTS = decoding.LEAST_ELEMENTS
STRING = re.compile(rb'"[^"]*+(?:"|\Z)')  # where no quote is escaped
LONG_INT = rb"-?[0-9]{19,}(?![0-9.eE])"
TINY = rb"-?[0-9]+(?:\.[0-9]+)?[eE]-[0-9]{3,}|-?0\.0{18}[0-9]+(?:[eE][+-]?[0-9]+)?"  # what may become 0
NUMBER = re.compile(STRING.pattern + rb"|(?<![\w.+-])(?:(" + LONG_INT + rb")|(" + TINY + rb"))")


def dump(hub: Any, data: Any) -> bytes:
    """Serialize a body; raises SerializeError that names the place in the body.

    orjson silently writes NaN as null, so a result that has a null is checked.
    """
    try:
        dumped = orjson.dumps(data, _default, OPTIONS)
    except (TypeError, RecursionError):
        return orjson.dumps(plugin.plain(data, False), option=OPTIONS)
    unsure = not plugin.finite(data) if WALK_FIRST else b"null" in dumped and not plugin.finite(data)
    if unsure and b"null" in dumped and not plugin.simple(data, False):
        return orjson.dumps(plugin.plain(data, False), option=OPTIONS)
    # A copy, for the result of orjson keeps its buffer: 4 KB for a body of 30 bytes, 16 KB for one of 9 KB. With bodies
    # of 10 KB that wait, a process had a peak of 93 MB instead of 160, and a put took a tenth less.
    return b"%b" % dumped if len(dumped) < COPIED else dumped


def load(hub: Any, data: bytes) -> Any:
    """Return the body that was serialized; raises ValueError, for numbers beyond 64 bits and too many elements."""
    if len(data) <= SMALL:
        if values.has_odd_number(data):
            _check_numbers(data)
    else:
        if len(data) > LEAST_ELEMENTS:
            _check_elements(data, decoding.max_elements(hub))
        if _has_long_number(data) or (b"-" in data and values.EXPONENT.search(data)):
            _check_numbers(data)
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        _check_text(data)
        if not data.startswith(BOM):
            raise
    return orjson.loads(data[len(BOM) :])


def _check_text(data: bytes) -> None:
    """Raise ValueError for what is not UTF-8, of which orjson says that surrogates are not allowed."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"it is not UTF-8 text, from byte {error.start} on; its sender should name the charset in the content type,"
            " or the compression in the content encoding"
        ) from None


def _default(value: Any) -> Any:
    return plugin.convert(value, False)


def _check_elements(data: bytes, limit: int) -> None:
    """Raise ValueError if there may be more keys and values than the limit: before one of them is made."""
    if len(data) <= limit or (most := _separators(data, 0, len(data))) <= limit:
        return
    data = _without_escapes(data)
    if data.count(b'"') <= 2 * limit:  # each string is a key or a value
        for string in STRING.finditer(data):  # separators in a string are none
            most -= _separators(data, *string.span())
            if most <= limit:
                return
    raise ValueError(decoding.too_many(limit))


def _separators(data: bytes, start: int, end: int) -> int:
    """Return the number of separators: there are as many keys and values, or one more."""
    return sum(data.count(each, start, end) for each in (b",", b":", b"[", b"{"))


def _without_escapes(data: bytes) -> bytes:
    return data.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in data else data


def _has_long_number(data: bytes) -> bool:
    """Return whether 19 digits follow each other in a body that is not small.

    A sample of every ninth byte has two digits in a row then: for 10 KB, 2 microseconds instead of 9.
    """
    return b"00" in data[::9].translate(values.DIGITS) and values.ZEROS in data.translate(values.DIGITS)


def _check_numbers(data: bytes) -> None:
    """Raise ValueError for a number that orjson would change: a long int to the nearest float, a tiny float to 0."""
    for found in NUMBER.finditer(_without_escapes(data)):
        number, tiny = found.groups()  # both are None for a string
        if number and (len(number) > values.LONG + 2 or not plugin.MIN_INT <= int(number) <= plugin.MAX_INT):
            raise ValueError("an int beyond 64 bits; the sender should write it as text")
        if tiny:
            values.exact_float(tiny.decode())

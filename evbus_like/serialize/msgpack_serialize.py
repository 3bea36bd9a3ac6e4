"""MessagePack: smaller than JSON, and bytes stay bytes. The reference on serializers has the table of types."""

from typing import Any

import msgpack

from evbus_like import plugin
from evbus_like.hub import decoding

__virtualname__ = "msgpack"
CONTENT_TYPE = "application/msgpack"
# Bytes of an element by its first byte (https://github.com/msgpack/msgpack/blob/master/spec.md), without what an array
# or a map holds; 0: their number follows, in as many bytes as LONG says behind those of the head.
FIXED = {0xCA: 5, 0xCB: 9, 0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9, 0xD0: 2, 0xD1: 3, 0xD2: 5, 0xD3: 9}
FIXED |= {0xD4: 3, 0xD5: 4, 0xD6: 6, 0xD7: 10, 0xD8: 18, 0xDC: 3, 0xDD: 5, 0xDE: 3, 0xDF: 5}
FIXED |= {0xA0 + length: 1 + length for length in range(32)}
LONG = {0xC4: (2, 1), 0xC5: (3, 2), 0xC6: (5, 4), 0xC7: (3, 1), 0xC8: (4, 2), 0xC9: (6, 4)}
LONG |= {0xD9: (2, 1), 0xDA: (3, 2), 0xDB: (5, 4)}
STEPS = [0 if first in LONG else FIXED.get(first, 1) for first in range(256)]
TO_DATETIME = 3  # msgpack's own number for timestamps as datetimes in UTC


def dump(hub: Any, data: Any) -> bytes:
    """Serialize a body; raises SerializeError that names the place in the body."""
    if plugin.simple(data, True):
        try:
            packed: bytes = msgpack.packb(data, default=_default, strict_types=True)
            return packed
        except (TypeError, ValueError, OverflowError):
            pass  # a huge int, a lone surrogate: `plain` names the place
    exact: bytes = msgpack.packb(plugin.plain(data, True))
    return exact


def load(hub: Any, data: bytes) -> Any:
    """Return the body that was serialized; a timestamp becomes a datetime, other extension types are refused."""
    most = len(data)
    if most > decoding.LEAST_ELEMENTS and most > (limit := decoding.max_elements(hub)):
        most = limit
        _check_elements(data, limit)
    try:
        return msgpack.unpackb(
            data, strict_map_key=False, timestamp=TO_DATETIME, ext_hook=_refuse, max_array_len=most, max_map_len=most
        )
    except msgpack.StackError:  # the library gives these two no words
        raise ValueError("the body is nested too deeply for msgpack") from None
    except msgpack.FormatError:
        raise ValueError("the body is not valid msgpack") from None
    except TypeError:
        raise ValueError(
            "a map of the body has a list or a map as a key, which no mapping of Python can have"
        ) from None


def _check_elements(data: bytes, limit: int) -> None:
    """Raise ValueError if there are more keys and values than the limit: before one of them is made.

    Elements follow each other, whatever is nested in what: a tenth of a microsecond for each.
    """
    at, end = 0, len(data)
    try:
        for _ in range(limit):
            at += STEPS[data[at]] or _long_step(data, at)
            if at >= end:
                return
    except IndexError:  # cut short, as msgpack will say
        return
    raise ValueError(decoding.too_many(limit))


def _long_step(data: bytes, at: int) -> int:
    head, width = LONG[data[at]]
    return head + int.from_bytes(data[at + 1 : at + 1 + width])


def _default(value: Any) -> Any:
    return plugin.convert(value, True)


def _refuse(code: int, data: bytes) -> Any:
    raise ValueError(f"msgpack extension type {code} is refused: events hold plain values only")

"""MessagePack: smaller than JSON, and bytes stay bytes. `values.py` has the table of types."""

import msgpack

from evbus_like.engine import values

__virtualname__ = "msgpack"
CONTENT_TYPE = "application/msgpack"


def dump(hub, data) -> bytes:
    """Serialize a body; raises SerializeError, which names the place in the body."""
    if values.simple(data, True):
        try:
            return msgpack.packb(data, default=_default, strict_types=True)
        except (TypeError, ValueError, OverflowError):
            pass  # a huge int, a lone surrogate: said with the place below
    return msgpack.packb(values.plain(data, True))


def load(hub, data: bytes):
    """Give the body that was serialized; extension types are refused, for they can stand for anything."""
    return msgpack.unpackb(data, strict_map_key=False, ext_hook=_refuse)


def _default(value):
    return values.convert(value, True)


def _refuse(code, data):
    raise ValueError(f"msgpack extension type {code} is refused: events hold plain values only")

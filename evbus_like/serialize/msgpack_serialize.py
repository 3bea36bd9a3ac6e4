"""MessagePack: smaller than JSON, and bytes stay bytes. The reference on serializers has the table of types."""

from typing import Any

import msgpack

from evbus_like import plugin

__virtualname__ = "msgpack"
CONTENT_TYPE = "application/msgpack"


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
    """Return the body that was serialized; extension types are refused."""
    return msgpack.unpackb(data, strict_map_key=False, ext_hook=_refuse)


def _default(value: Any) -> Any:
    return plugin.convert(value, True)


def _refuse(code: int, data: bytes) -> Any:
    raise ValueError(f"msgpack extension type {code} is refused: events hold plain values only")

"""JSON, by orjson: fast, and strict UTF-8. The reference on serializers has the table of types."""

from typing import Any

import orjson

from evbus_like import plugin

__virtualname__ = "json"
CONTENT_TYPE = "application/json"

# The table of types, not the library, decides about dates, dataclasses and subclasses.
OPTIONS = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_SUBCLASS
SMALL = 4096  # bytes


def dump(hub: Any, data: Any) -> bytes:
    """Serialize a body; raises SerializeError that names the place in the body.

    orjson silently writes NaN as null, so a result that has a null is checked.
    """
    try:
        dumped = orjson.dumps(data, _default, OPTIONS)
    except (TypeError, RecursionError):
        return orjson.dumps(plugin.plain(data, False), option=OPTIONS)
    if b"null" in dumped and not (plugin.finite(data) or plugin.simple(data, False)):
        return orjson.dumps(plugin.plain(data, False), option=OPTIONS)
    # A copy, for the result of orjson keeps its buffer: 4 KB for a body of 30 bytes.
    return b"%b" % dumped if len(dumped) < SMALL else dumped


def load(hub: Any, data: bytes) -> Any:
    """Return the body that was serialized."""
    return orjson.loads(data)


def _default(value: Any) -> Any:
    return plugin.convert(value, False)

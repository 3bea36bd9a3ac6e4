"""JSON, by orjson: fast, and strict UTF-8. `values.py` has the table of types."""

import orjson

from evbus_like.engine import values

__virtualname__ = "json"
CONTENT_TYPE = "application/json"

# The table of types decides about dates and dataclasses, not the library.
OPTIONS = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS


def dump(hub, data) -> bytes:
    """Serialize a body; raises SerializeError, which names the place in the body.

    orjson writes NaN as null without a word, so a result that holds a null is looked at again.
    """
    try:
        dumped = orjson.dumps(data, _default, OPTIONS)
    except (TypeError, RecursionError):
        return orjson.dumps(values.plain(data, False), option=OPTIONS)
    if b"null" in dumped and not values.finite(data):
        return orjson.dumps(values.plain(data, False), option=OPTIONS)
    return dumped


def load(hub, data: bytes):
    """Give the body that was serialized."""
    return orjson.loads(data)


def _default(value):
    return values.convert(value, False)

"""JSON, by orjson: fast, and strict UTF-8. `values.py` has the table of types."""

import orjson

from evbus_like.engine import values

__virtualname__ = "json"
CONTENT_TYPE = "application/json"

# The table of types decides about dates, dataclasses and subclasses, not the library.
OPTIONS = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_SUBCLASS
SMALL = 4096  # bytes


def dump(hub, data) -> bytes:
    """Serialize a body; raises SerializeError, which names the place in the body.

    orjson writes NaN as null without a word, so a body that holds a null is looked at again.
    """
    try:
        dumped = orjson.dumps(data, _default, OPTIONS)
    except (TypeError, RecursionError):
        return orjson.dumps(values.plain(data, False), option=OPTIONS)
    if b"null" in dumped and not (values.finite(data) or values.simple(data, False)):
        return orjson.dumps(values.plain(data, False), option=OPTIONS)
    # A copy: what orjson gives keeps its oversized buffer, 4 KB for 30 bytes of body.
    return b"%b" % dumped if len(dumped) < SMALL else dumped


def load(hub, data: bytes):
    """Give the body that was serialized."""
    return orjson.loads(data)


def _default(value):
    return values.convert(value, False)

"""JSON, by orjson: fast, and strict UTF-8. `values.py` has the table of types."""

import orjson

from evbus_like.engine import values

__virtualname__ = "json"
CONTENT_TYPE = "application/json"

# The table of types decides about dates, dataclasses and subclasses, not the library.
OPTIONS = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_SUBCLASS
DEEP = 2 * values.MAX_DEPTH  # bytes; each level takes two


def dump(hub, data) -> bytes:
    """Serialize a body; raises SerializeError, which names the place in the body.

    orjson writes NaN as null without a word and nests a little deeper than we promise, so a result that holds a null,
    or brackets enough, is looked at again.
    """
    try:
        dumped = orjson.dumps(data, _default, OPTIONS)
    except (TypeError, RecursionError):
        return orjson.dumps(values.plain(data, False), option=OPTIONS)
    suspect = b"null" in dumped or (len(dumped) > DEEP and dumped.count(b"[") + dumped.count(b"{") > values.MAX_DEPTH)
    if suspect and not values.simple(data, False):
        return orjson.dumps(values.plain(data, False), option=OPTIONS)
    return b"%b" % dumped  # a copy: what orjson gives keeps its oversized buffer, 4 KB for 30 bytes of body


def load(hub, data: bytes):
    """Give the body that was serialized."""
    return orjson.loads(data)


def _default(value):
    return values.convert(value, False)

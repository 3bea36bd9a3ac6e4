"""Plain values: what all serializers do with values that their format does not support.

| value                     | json         | msgpack, yaml |
|---------------------------|--------------|---------------|
| datetime, date, time      | ISO 8601 text                ||
| Decimal, UUID             | text                         ||
| bytes, bytearray, memoryview | base64 text | native       |
| Enum                      | its value                    ||
| set, frozenset            | list, sorted where sortable  ||
| dataclass, NamedTuple     | mapping                      ||
| other mapping, tuple      | mapping, list                ||
| object with `__to_bus__()`| what that returns            ||
| key: int, float, bool, None | text as in JSON | native   |
| NaN, infinities           | an error     | native        |
| an int beyond 64 bits, a lone surrogate, a cycle, nesting beyond 254 levels, anything else | an error ||
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import decimal
import enum
import gc
import math
import re
import uuid
from collections.abc import Mapping
from typing import Any, NoReturn

from evbus_like.engine.errors import SerializeError
from evbus_like.engine.foreign import text_of
from evbus_like.engine.suggest import shown
from evbus_like.speedups import fastest

MAX_DEPTH = 254  # where orjson stops; msgpack would at 511: one limit for all
MAX_LEVELS = MAX_DEPTH + 2  # the values of the deepest containers included
MIN_INT, MAX_INT = -(2**63), 2**64 - 1
TEXTS = (decimal.Decimal, uuid.UUID)
TIMES = (datetime.datetime, datetime.date, datetime.time)
PLAIN = frozenset((str, int, bool, type(None), bytes, decimal.Decimal, uuid.UUID, *TIMES))  # never a NaN in its text
DIGITS = bytes.maketrans(b"123456789", b"0" * 9)
LONG = 19  # digits of the shortest int beyond 64 bits
ZEROS = b"0" * LONG
EXPONENT = re.compile(rb"-(?<=[eE]-)[0-9]{3}")  # it begins with a literal, and so is found fast
BUILTINS = frozenset((dict, list, tuple, str, int, float, bool, type(None), bytes))


def convert(value: Any, native_bytes: bool) -> Any:
    """Convert one value that a format does not support, as the table says; raises TypeError.

    The result may contain such values again. Serializers pass this to their library as the `default` hook.
    """
    if isinstance(value, TIMES):
        return value.isoformat()
    if isinstance(value, TEXTS):
        return str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value) if native_bytes else base64.b64encode(value).decode("ascii")
    if isinstance(value, enum.Enum):
        return value.value
    hook = getattr(type(value), "__to_bus__", None)
    if hook is not None:
        return hook(value)
    if isinstance(value, (set, frozenset)):
        return in_order(value)
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return value._asdict()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (list, tuple)):  # subclasses of the builtins, here and below
        return list(value)
    for builtin in (str, int, float):
        if isinstance(value, builtin):
            return builtin(value)
    raise TypeError(f"a {type(value).__module__}.{type(value).__qualname__} has no form in an event")


def in_order(value: set[Any] | frozenset[Any]) -> list[Any]:
    """Return the items of a set, sorted if they can be compared."""
    try:
        return sorted(value)
    except TypeError:
        return list(value)


def exact_float(text: str) -> float:
    """Return the float of a decimal number; raises ValueError if it would become an infinity, or 0 without being 0."""
    value = float(text)
    if not math.isfinite(value) or (not value and set(text.lower().partition("e")[0]) & set("123456789")):
        raise ValueError("a float beyond the range of 64 bits; the sender should write it as text")
    return value


def plain(value: Any, native: bool, path: str = "body", depth: int = 0) -> Any:
    """Rebuild a body from None, bool, int, float, str, bytes, list and dict alone; raises SerializeError with the path.

    `native` says that the format supports bytes, NaN and keys of any plain type (msgpack, yaml; not json). This is
    exact and slow: for bodies that a library's fast path refused, and for naming the place of an error.
    """
    if value is None or value is True or value is False:
        return value
    if depth > MAX_DEPTH:
        fail(path, f"is nested deeper than {MAX_DEPTH} levels, or holds itself")
    kind = type(value)
    if kind is str:
        return check_text(value, path)
    if kind is int:
        return value if MIN_INT <= value <= MAX_INT else fail(path, "is an int beyond 64 bits; send text or Decimal")
    if kind is float:
        if not native and not math.isfinite(value):
            fail(path, f"is {value}, which JSON cannot hold; send None or text, or use msgpack or yaml")
        return value
    if kind is bytes and native:
        return value
    if kind is list or kind is tuple:
        return [plain(item, native, f"{path}[{index}]", depth + 1) for index, item in enumerate(value)]
    if kind is dict:
        return plain_dict(value, native, path, depth)
    try:
        converted = convert(value, native)
    except TypeError as error:
        fail(path, f"cannot be serialized: {error}")
    except Exception as error:
        fail(path, f"cannot be serialized: __to_bus__ of {kind.__qualname__} raised {text_of(error)}")
    return plain(converted, native, path, depth + 1)


def plain_dict(value: dict[Any, Any], native: bool, path: str, depth: int) -> dict[Any, Any]:
    """Rebuild a mapping; two keys with the same text are an error."""
    result: dict[Any, Any] = {}
    for key, item in value.items():
        name = plain_key(key, native, path)
        if name in result:
            fail(path, f"has two keys that become {name!r}")
        place = f"{path}.{name}" if isinstance(name, str) and name.isidentifier() else f"{path}[{name!r}]"
        result[name] = plain(item, native, place, depth + 1)
    return result


def plain_key(key: Any, native: bool, path: str) -> Any:
    """Return the plain form of a key."""
    if type(key) is str:
        return check_text(key, f"{path}: the key {shown(key)}")
    if isinstance(key, enum.Enum):
        return plain_key(key.value, native, path)
    if isinstance(key, (*TIMES, *TEXTS, str)):
        return key.isoformat() if isinstance(key, TIMES) else check_text(str(key), f"{path}: the key {shown(key)}")
    if key is None or isinstance(key, (bool, int, float)):
        number = plain(key, native, f"{path}: the key {shown(key)}")
        return number if native else json_key(number)
    if native and isinstance(key, bytes):
        return key
    return fail(path, f"has a key of type {type(key).__qualname__}; keys are strings or numbers")


def json_key(value: Any) -> str:
    """Return the JSON text of a key that is not text, as the standard library writes it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value)


def check_text(text: str, path: str) -> str:
    """Return the text if it can be UTF-8; raises SerializeError for a lone surrogate."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError as error:
        fail(path, f"holds a lone surrogate ({error.object[error.start]!a}), which is not valid UTF-8 text")
    return text


def fail(path: str, what: str) -> NoReturn:
    """Raise a SerializeError that names the place."""
    shown = path if len(path) <= 200 else f"{path[:80]}...{path[-40:]}"
    raise SerializeError(f"{shown} {what}", path)


@fastest
def finite(value: Any) -> bool:
    """Whether a body consists of builtins alone, without NaN and infinity; False also if that is uncertain.

    It checks a level at a time, as `simple` does, but through the garbage collector's view of containers, without a
    Python loop over the values.
    """
    level = [value]
    for _ in range(MAX_LEVELS):
        kinds = set(map(type, level))
        if not kinds <= BUILTINS:
            return False
        if float in kinds and not all(math.isfinite(item) for item in level if type(item) is float):
            return False
        level = gc.get_referents(*level)
        if not level:
            return True
    return False


@fastest
def has_odd_number(data: bytes) -> bool:
    """Return whether a JSON text may have a number that 64 bits do not hold: of 19 digits, or an exponent below -99."""
    return ZEROS in data.translate(DIGITS) or (b"-" in data and EXPONENT.search(data) is not None)


def simple(value: Any, native: bool) -> bool:
    """Whether a library can serialize this body directly: builtins with text as keys, finite, and not too deep.

    It checks a level at a time. False does not mean an error, only that `plain` must decide.
    """
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        inner: list[Any] = []
        for item in level:
            kind = type(item)
            if kind is dict:
                if not all(type(key) is str for key in item):
                    return False
                inner.extend(item.values())
            elif kind is list or kind is tuple:
                inner.extend(item)
            elif kind is float:
                if not native and not math.isfinite(item):
                    return False
            elif kind not in PLAIN:
                return False
        if not inner:
            return True
        level = inner
    return False

"""Redaction: bodies and messages as the log shows them, without the values that a handler calls sensitive."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

HIDDEN = "***"
LONGEST = 500  # characters
SHORTEST = 3  # characters: shorter values are parts of too many words to be removed from a text
MOST = 10_000  # values that are searched for in a text


def shown(body: Any, sensitive: Sequence[str]) -> str:
    """Return a body as text for the log; `sensitive` are paths such as "password" or "card.number", "*" for all."""
    if "*" in sensitive:
        return HIDDEN
    try:
        for path in sensitive:
            body = _hidden(body, path.split("."))
        text = repr(body)
    except Exception as error:  # such as RecursionError: a body may be nested deeply
        text = f"<{type(body).__name__} that cannot be shown: {type(error).__name__}>"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... ({len(text)} characters)"


def redacted(text: str, body: Any, sensitive: Sequence[str]) -> str:
    """Return a text without the sensitive values of a body, which an exception's text may quote."""
    try:
        found = _found(body, sensitive)
    except Exception:
        return HIDDEN
    for value in sorted(found, key=len, reverse=True):
        if len(value) >= SHORTEST:
            text = text.replace(value, HIDDEN)
    return text


def _found(body: Any, sensitive: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for path in sensitive:
        for value in _values(body, [] if path == "*" else path.split(".")):
            found.update({str(value), repr(value)[1:-1] if isinstance(value, (str, bytes)) else ""})
            if len(found) > MOST:
                raise ValueError("too many values")
    return found


def _plain(body: Any) -> Any:
    """Return dataclasses, named tuples and sets as mappings and lists."""
    if dataclasses.is_dataclass(body) and not isinstance(body, type):
        return {each.name: getattr(body, each.name) for each in dataclasses.fields(body)}
    if isinstance(body, tuple) and hasattr(body, "_asdict"):
        return body._asdict()
    return list(body) if isinstance(body, (tuple, set, frozenset)) else body


def _hidden(body: Any, path: Sequence[str]) -> Any:
    if not path:
        return HIDDEN
    body = _plain(body)
    if isinstance(body, Mapping):
        return {name: _hidden(value, path[1:]) if str(name) == path[0] else value for name, value in body.items()}
    if isinstance(body, list):
        return [_hidden(item, path) for item in body]
    return body


def _values(body: Any, path: Sequence[str]) -> Iterator[Any]:
    """Yield the values at a path and below it."""
    body = _plain(body)
    if isinstance(body, Mapping):
        for name, value in body.items():
            if not path or str(name) == path[0]:
                yield from _values(value, path[1:])
    elif isinstance(body, list):
        for item in body:
            yield from _values(item, path)
    elif not path and body is not None and not isinstance(body, bool):
        yield body.value if isinstance(body, enum.Enum) else body

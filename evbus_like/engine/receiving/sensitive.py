"""Redaction: bodies and messages as the log shows them, without the values that a handler calls sensitive.

A sensitive path, such as "password" or "card.number", names a part of the body wherever it is, in upper or lower case.
What cannot be searched for it is hidden whole: bytes, values without a name, and text that mentions the name, for it
may be JSON or a URL.
"""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

HIDDEN = "***"
LONGEST = 500  # characters
SHORTEST = 3  # characters: shorter values are parts of too many words to be removed from a text
MOST = 10_000  # values that are searched for in a text
LARGEST = 1_000_000  # bytes of a body that is searched for in a text

Path = tuple[str, ...]


def shown(body: Any, sensitive: Sequence[str]) -> str:
    """Return a body as text for the log; `sensitive` are paths such as "password" or "card.number", "*" for all."""
    if "*" in sensitive:
        return HIDDEN
    try:
        text = repr(_Search(sensitive).hidden(body, False) if sensitive else body)
    except Exception as error:  # such as RecursionError: a body may be nested deeply
        text = f"<{type(body).__name__} that cannot be shown: {type(error).__name__}>"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... ({len(text)} characters)"


def redacted(text: str, body: Any, sensitive: Sequence[str]) -> str:
    """Return a text without the sensitive values of a body, which an exception's text may quote.

    All of it is hidden if the body has parts that cannot be searched.
    """
    if not sensitive:
        return text
    try:
        found = _found(body, sensitive)
    except Exception:
        return HIDDEN
    for value in sorted(found, key=len, reverse=True):
        if len(value) >= SHORTEST:
            text = text.replace(value, HIDDEN)
    return text


def without_body(text: str, body: Any, raw: bytes) -> str:
    """Return a text without the whole body, which an exception's text may quote; parts of it stay."""
    if body is None or len(raw) > LARGEST:
        return text
    try:
        forms = {repr(body), str(body), raw.decode(errors="replace"), repr(raw)}
    except Exception:
        return text
    for form in sorted(forms, key=len, reverse=True):
        if len(form) >= SHORTEST:
            text = text.replace(form, HIDDEN)
    return text


def _found(body: Any, sensitive: Sequence[str]) -> set[str]:
    found: set[str] = set()
    search = _Search([path for path in sensitive if path != "*"])
    values = _all(body) if "*" in sensitive else search.values(body, False)
    for value in values:
        found.update({str(value), repr(value)[1:-1] if isinstance(value, (str, bytes)) else ""})
        if len(found) > MOST:
            raise ValueError("too many values")
    return found


class _Search:
    """Finds what is sensitive in a body."""

    def __init__(self, sensitive: Sequence[str]) -> None:
        self._paths: list[Path] = [tuple(path.lower().split(".")) for path in sensitive]
        names = (re.escape(path[-1]) for path in self._paths)
        # A short name is a part of too many words to be looked for within them.
        self._name = re.compile(
            "|".join(name if len(name) > SHORTEST else rf"\b{name}\b" for name in names), re.IGNORECASE
        )

    def _below(self, name: Any, open_paths: Sequence[Path]) -> list[Path]:
        """Return the rests of the paths below a name; an empty one says that the value is sensitive."""
        lower = str(name).lower()
        return [path[1:] for path in (*open_paths, *self._paths) if path and path[0] == lower]

    def _opaque(self, value: Any, named: bool) -> bool:
        """Whether a value that is no container cannot be searched."""
        if value is None or isinstance(value, bool):
            return False
        if isinstance(value, str):
            return not named or self._name.search(value) is not None
        return not named or isinstance(value, (bytes, bytearray, memoryview))

    def hidden(self, body: Any, named: bool, open_paths: Sequence[Path] = ()) -> Any:
        """Return a body with `***` in place of what is sensitive, or cannot be searched."""
        body = _plain(body)
        if isinstance(body, Mapping):
            made = {}
            for name, value in body.items():
                below = self._below(name, open_paths)
                made[name] = HIDDEN if () in below else self.hidden(value, True, below)
            return made
        if isinstance(body, list):
            return [self.hidden(item, named, open_paths) for item in body]
        return HIDDEN if self._opaque(body, named) else body

    def values(self, body: Any, named: bool, open_paths: Sequence[Path] = ()) -> Iterator[Any]:
        """Yield the sensitive values; raises ValueError for a value that cannot be searched."""
        body = _plain(body)
        if isinstance(body, Mapping):
            for name, value in body.items():
                below = self._below(name, open_paths)
                yield from _all(value) if () in below else self.values(value, True, below)
        elif isinstance(body, list):
            for item in body:
                yield from self.values(item, named, open_paths)
        elif self._opaque(body, named):
            raise ValueError("a value that cannot be searched")


def _plain(body: Any) -> Any:
    """Return dataclasses, named tuples and sets as mappings and lists."""
    if dataclasses.is_dataclass(body) and not isinstance(body, type):
        return {each.name: getattr(body, each.name) for each in dataclasses.fields(body)}
    if isinstance(body, tuple) and hasattr(body, "_asdict"):
        return body._asdict()
    return list(body) if isinstance(body, (tuple, set, frozenset)) else body


def _all(body: Any) -> Iterator[Any]:
    """Yield every value below a place."""
    body = _plain(body)
    if isinstance(body, Mapping):
        for value in body.values():
            yield from _all(value)
    elif isinstance(body, list):
        for item in body:
            yield from _all(item)
    elif body is not None and not isinstance(body, bool):
        yield body.value if isinstance(body, enum.Enum) else body

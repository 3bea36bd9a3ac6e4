"""Bodies in the log: without what a handler calls sensitive, and cut short."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

HIDDEN = "***"
LONGEST = 500  # characters


def shown(body: Any, sensitive: Sequence[str]) -> str:
    """Give a body as text for the log; `sensitive` are paths such as "password" or "card.number"; "*" hides it all."""
    if "*" in sensitive:
        return HIDDEN
    for path in sensitive:
        body = _hidden(body, path.split("."))
    try:
        text = repr(body)
    except Exception as error:
        text = f"<{type(body).__name__} whose repr raises {type(error).__name__}>"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... ({len(text)} characters)"


def _hidden(body: Any, path: Sequence[str]) -> Any:
    if not path:
        return HIDDEN
    if isinstance(body, Mapping):
        return {name: _hidden(value, path[1:]) if str(name) == path[0] else value for name, value in body.items()}
    if isinstance(body, (list, tuple)):
        return [_hidden(item, path) for item in body]
    return body

"""Patterns of event types, as AMQP's topic exchanges have them."""

from __future__ import annotations

import functools
from collections.abc import Sequence


def is_pattern(event_type: str) -> bool:
    """Whether an event type stands for several: `*` is one word between dots, `#` any number of them."""
    return not {"*", "#"}.isdisjoint(event_type.split("."))


@functools.lru_cache(maxsize=10_000)
def matches(pattern: str, event_type: str) -> bool:
    """Whether an event type is one of those that a pattern stands for (AMQP 0-9-1 specification, 3.1.3.3)."""
    return pattern == event_type or _match(pattern.split("."), event_type.split(".") if event_type else [])


def _match(pattern: Sequence[str], words: Sequence[str]) -> bool:
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(_match(pattern[1:], words[first:]) for first in range(len(words) + 1))
    return bool(words) and pattern[0] in ("*", words[0]) and _match(pattern[1:], words[1:])

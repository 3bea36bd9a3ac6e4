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
    """Try the latest `#` with ever more words: no more steps than the product of both lengths."""
    at = word = first = 0
    rest = -1  # what follows the latest `#`, which takes the words up to `first`
    while word < len(words):
        if at < len(pattern) and pattern[at] == "#":
            at += 1
            rest, first = at, word
        elif at < len(pattern) and pattern[at] in ("*", words[word]):
            at, word = at + 1, word + 1
        elif rest >= 0:
            first += 1
            at, word = rest, first
        else:
            return False
    return all(left == "#" for left in pattern[at:])

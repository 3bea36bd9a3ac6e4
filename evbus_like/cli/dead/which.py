"""Which dead letters a command works on: given numbers, or all that match the filters."""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evbus_like.cli import file, shown
from evbus_like.cli.errors import UsageError
from evbus_like.engine.outbox import DeadFilter, DeadLetter, inspect

FILTERS = ("destination", "profile", "routing_key", "reason", "older_than")
PAGE = 1000  # dead letters read at once
BEYOND = 2**63  # all numbers are below


def wanted(settings: Any) -> DeadFilter:
    """Return the filter of the options; raises UsageError."""
    values = {name: settings[name] for name in FILTERS if settings[name] is not None}
    if "older_than" in values:
        try:
            values["older_than"] = time.time() - shown.seconds(str(values["older_than"]))
        except ValueError as error:
            raise UsageError(f"--older-than: {error}") from None
    return DeadFilter(**values)


def limit(settings: Any) -> int | None:
    """Return the largest number of dead letters, or None; raises UsageError."""
    if settings.limit is not None and int(settings.limit) < 1:
        raise UsageError(f"--limit must be 1 or more, not {settings.limit}")
    return None if settings.limit is None else int(settings.limit)


def numbers(settings: Any) -> list[int]:
    """Return the numbers of the command line; raises UsageError."""
    for text in settings.numbers:
        if not (text.isascii() and text.isdigit()):
            raise UsageError(f"{text!r} is not the number of a dead letter; `evbus dead ls` lists them")
    return sorted({int(text) for text in settings.numbers})


@dataclass
class Found:
    """Existing dead letters by number, their count for each destination, and numbers that do not exist."""

    numbers: list[int] = field(default_factory=list)
    destinations: Counter[str] = field(default_factory=Counter)
    missing: list[int] = field(default_factory=list)

    def add(self, letter: DeadLetter) -> None:
        """Count one."""
        self.numbers.append(letter.number)
        self.destinations[letter.destination] += 1

    def whose(self) -> str:
        """Return the counts: "amqp:orders 2, kafka:audit 1"."""
        return ", ".join(f"{shown.visible(name)} {count}" for name, count in sorted(self.destinations.items()))

    def name_missing(self, what: str) -> None:
        """Print on stderr which numbers do not exist."""
        if self.missing:
            named = ", ".join(map(str, self.missing))
            print(f"evbus dead {what}: there is no dead letter {named}", file=sys.stderr)


def found(settings: Any, path: Path, what: str) -> Found:
    """Find the dead letters that `replay` or `purge` works on; raises UsageError and StorageError."""
    given = numbers(settings)
    filtered = any(settings[name] is not None for name in (*FILTERS, "limit"))
    if bool(given) == bool(settings.all) or (given and filtered):
        raise UsageError(
            f"name dead letters: `evbus dead {what} NUMBER ...`, or `evbus dead {what} --all` with filters such as"
            " --destination; `evbus dead ls` has the same filters"
        )
    result = Found()
    choice, most = wanted(settings), limit(settings)
    with file.reading(path):
        if not file.there(path):
            result.missing = given
        elif given:
            _by_number(path, given, result)
        else:
            _by_filter(path, choice, most, result)
    return result


def _by_number(path: Path, given: list[int], result: Found) -> None:
    for number in given:
        letters = inspect.dead_letters(path, limit=1, after=number - 1) if 0 < number < BEYOND else []
        if letters and letters[0].number == number:
            result.add(letters[0])
        else:
            result.missing.append(number)


def _by_filter(path: Path, choice: DeadFilter, most: int | None, result: Found) -> None:
    last = 0
    while most is None or len(result.numbers) < most:
        page = PAGE if most is None else min(PAGE, most - len(result.numbers))
        letters = inspect.dead_letters(path, choice, page, last)
        if not letters:
            return
        for letter in letters:
            result.add(letter)
        last = letters[-1].number

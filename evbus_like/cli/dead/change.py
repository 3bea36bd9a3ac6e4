"""What `replay` and `purge` share: they work on chosen letters, some at a time, and count what they did."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from evbus_like.cli import shown
from evbus_like.cli.dead.places import Place
from evbus_like.cli.dead.walk import Walk
from evbus_like.cli.dead.which import Choice
from evbus_like.engine.receiving.look import FoundLetter, Look

AT_ONCE = 100  # letters; with a rate, those of a fifth of a second
SHOWN = 20  # problems on stderr

Work = Callable[[Look, Sequence[FoundLetter]], Awaitable[Sequence[str]]]


@dataclass
class Change:
    """What was done so far; `failed` are the names of letters that stay, with the reasons."""

    choice: Choice
    rate: float | None = None  # letters a second
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    done: Counter[str] = field(default_factory=Counter)  # by owner
    failed: dict[str, str] = field(default_factory=dict)
    found: set[str] = field(default_factory=set)  # names and ids, where some are named
    taken: int = 0

    async def letters(self, look: Look, letters: Sequence[FoundLetter], work: Work, progress: Any) -> bool:
        """Work on a page, and return whether to go on."""
        if self.choice.limit is not None:
            letters = letters[: self.choice.limit - self.taken]
        self.taken += len(letters)
        if self.choice.named:
            self.found.update(name for letter in letters for name in (letter.name, letter.id))
        size = AT_ONCE if self.rate is None else max(1, min(AT_ONCE, round(self.rate / 5)))
        for at in range(0, len(letters), size):
            if self.stopped.is_set():
                return False
            part = letters[at : at + size]
            for letter, problem in zip(part, await work(look, part), strict=True):
                if problem:
                    self.failed[letter.name] = problem
                else:
                    self.done[letter.owner] += 1
            progress.show(f"{self.done.total()} done, {len(self.failed)} failed")
            await self._pause(len(part))
        return not self.stopped.is_set() and (self.choice.limit is None or self.taken < self.choice.limit)

    async def _pause(self, count: int) -> None:
        if self.rate is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(count / self.rate):
                    await self.stopped.wait()

    @property
    def missing(self) -> list[int | str]:
        """What was named and is not there."""
        names: list[int | str] = [*self.choice.numbers, *self.choice.ids]
        return [name for name in names if str(name) not in self.found]

    def whose(self) -> str:
        """Return the counts: "amqp:orders 2, shipping.ship 1"."""
        return whose(self.done)

    def report(self, what: str, walk: Walk) -> None:
        """Print on stderr what is not there, what failed, and what was not looked at."""
        if self.missing:
            named = ", ".join(map(str, self.missing))
            print(f"evbus dead {what}: there is no dead letter {shown.visible(named)}", file=sys.stderr)
        for name, problem in list(self.failed.items())[:SHOWN]:
            print(f"evbus dead {what}: {shown.visible(f'{name} stays: {problem}')}", file=sys.stderr)
        if len(self.failed) > SHOWN:
            print(f"evbus dead {what}: {len(self.failed) - SHOWN} more stay", file=sys.stderr)
        walk.report(what)

    def code(self, walk: Walk) -> int:
        """Return the exit code."""
        number = getattr(self.stopped, "number", None)
        if number is not None:
            return 128 + int(number)
        return 1 if self.missing or self.failed or not walk.complete else 0

    def as_dict(self, walk: Walk) -> dict[str, Any]:
        """Return plain data."""
        return {"missing": self.missing, "failed": self.failed, **walk.as_dict()}


def whose(counts: Counter[str]) -> str:
    """Return the counts of owners: "amqp:orders 2, shipping.ship 1"."""
    return ", ".join(f"{shown.visible(name)} {count}" for name, count in sorted(counts.items()))


async def count(walk: Walk, choice: Choice) -> Counter[str]:
    """Count the chosen letters by owner, and change nothing."""
    counts: Counter[str] = Counter()

    async def visit(place: Place, look: Look, letters: Sequence[FoundLetter]) -> bool:
        left = len(letters) if choice.limit is None else choice.limit - counts.total()
        counts.update(letter.owner for letter in letters[:left])
        return choice.limit is None or counts.total() < choice.limit

    await walk.run(visit)
    return counts

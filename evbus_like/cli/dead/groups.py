"""Dead letters grouped by what they were for, and why they were given up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from evbus_like.cli import console, shown
from evbus_like.cli.dead.places import Place
from evbus_like.engine.dead_reasons import LONGEST, OTHERS, group_of
from evbus_like.engine.receiving.look import FoundLetter

MOST = 1000  # groups; more reasons than that are one group for each owner
COLUMNS = ("count", "oldest", "newest", "of", "kind", "reason", "in")


@dataclass
class Group:
    """The letters of one owner with one reason; times are of when they were given up, None if that is unknown.

    `reason` is the group's, as on the status page, `example` the first line of one letter's.
    """

    place: str
    owner: str
    kind: str
    reason: str
    count: int = 0
    oldest: float | None = None
    newest: float | None = None
    example: str = ""

    def add(self, letter: FoundLetter) -> None:
        """Count a letter."""
        self.count += 1
        if letter.died is not None:
            self.oldest = min(letter.died, self.oldest or letter.died)
            self.newest = max(letter.died, self.newest or letter.died)


class Groups:
    """All groups, the largest first."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, ...], Group] = {}

    def add(self, place: Place, letters: Iterable[FoundLetter]) -> None:
        """Count letters of a place."""
        for letter in letters:
            key = (place.source, letter.owner, letter.kind, group_of(letter.reason))
            if key not in self._groups and len(self._groups) >= MOST:
                key = (place.source, letter.owner, "", OTHERS)
            if (group := self._groups.get(key)) is None:
                group = self._groups[key] = Group(*key, example=first_line(letter.reason))
            group.add(letter)

    @property
    def listed(self) -> list[Group]:
        """The groups."""
        return sorted(self._groups.values(), key=lambda group: -group.count)

    def as_list(self) -> list[dict[str, Any]]:
        """Return plain data."""
        return [vars(group) for group in self.listed]

    def show(self) -> None:
        """Print the table."""
        groups = self.listed
        total = shown.many(sum(group.count for group in groups), "dead letter")
        console.table(f"{total}; `evbus dead ls --each` lists them", COLUMNS, [_cells(each) for each in groups])


def first_line(reason: str) -> str:
    """Return the first line of a reason that is not empty."""
    line = next((line.strip() for line in reason.splitlines() if line.strip()), "unknown")
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}..."


def _cells(group: Group) -> list[object]:
    ages = ["unknown" if when is None else shown.age(when) for when in (group.oldest, group.newest)]
    return [group.count, *ages, group.owner, group.kind or "-", group.reason, group.place]

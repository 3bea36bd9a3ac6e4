"""Why events were given up, in groups: reasons that differ in ids and long numbers alone are one."""

from __future__ import annotations

import re
from collections.abc import Mapping

LONGEST = 200  # characters of a reason
MOST = 20  # groups of one destination or handler; all further reasons are one
OTHERS = "(further reasons)"
# Ids in hexadecimal, with or without hyphens, times, and numbers of four digits or more, such as sizes. Shorter ones
# stay: they are codes and attempts.
VARYING = re.compile(
    r"\b(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d{4}-\d\d-\d\d(?:[T ][\d:.]+(?:Z|[+-]\d\d:\d\d)?)?"
    r"|(?=[0-9a-f-]*\d)[0-9a-f]{8,}(?:-[0-9a-f]+)*|\d{4,}(?:\.\d+)?)\b",
    re.IGNORECASE,
)


def group_of(reason: str) -> str:
    """Return the group of a reason: its first line that is not empty, with `…` for what varies."""
    line = next((line.strip() for line in reason[:10_000].splitlines() if line.strip()), "unknown")
    line = VARYING.sub("…", line)
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}…"


def parts_of(wanted: str | None) -> list[str]:
    """Return what a reason must have in it to match a text, which may be one of a group."""
    return [part for part in (wanted or "").split("…") if part.strip()]


class DeadReasons:
    """Counts of dead letters by group."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def add(self, reason: str, count: int = 1) -> None:
        """Count letters that were given up for a reason."""
        group = group_of(reason)
        if group not in self._counts and len(self._counts) >= MOST:
            group = OTHERS
        self._counts[group] = self._counts.get(group, 0) + count

    def as_dict(self) -> Mapping[str, int]:
        """Return the counts, the largest first."""
        return dict(sorted(self._counts.items(), key=lambda item: -item[1]))

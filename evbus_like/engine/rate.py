"""Rates, such as 50/s: how many events a handler, or a destination, takes in a time, in one process or in several."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any, Protocol

from evbus_like.engine.suggest import shown

UNITS = {
    **dict.fromkeys(("s", "sec", "second"), 1.0),
    **dict.fromkeys(("m", "min", "minute"), 60.0),
    **dict.fromkeys(("h", "hour"), 3600.0),
    **dict.fromkeys(("d", "day"), 86400.0),
}
FORM = re.compile(r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*/\s*([a-z]+)\s*", re.ASCII)
AT_ONCE = 0.05  # seconds whose events may come at once; a loop wakes too seldom to let each in at its own moment


@dataclass(frozen=True)
class Rate:
    """So many events in so many seconds."""

    count: float
    seconds: float

    @property
    def interval(self) -> float:
        """The seconds for each event."""
        return self.seconds / self.count


def parse(text: Any) -> Rate | None:
    """Return the rate that a text such as "50/s" or "1000/min" says; None for any other value."""
    found = FORM.fullmatch(text) if isinstance(text, str) else None
    if found is None or found[2] not in UNITS or not float(found[1]):
        return None
    return Rate(float(found[1]), UNITS[found[2]])


def problem(name: str, value: Any) -> str:
    """Return what is wrong with a rate, or an empty string."""
    if parse(value) is not None:
        return ""
    return f'{name} must be a number of events in a time, such as "50/s", "1000/min" or "10/h", not {shown(value)}'


class Slot(Protocol):
    """Where it is noted until when a rate is used up: on the clock `time.monotonic`, which all processes share."""

    def change(self, change: Callable[[float], float]) -> float:
        """Replace the value by what the function returns, while nobody else can; return the value before."""


class OwnSlot:
    """The slot of one process."""

    def __init__(self) -> None:
        self._value = 0.0

    def change(self, change: Callable[[float], float]) -> float:
        """Replace the value, as Slot says."""
        before, self._value = self._value, change(self._value)
        return before


class Bucket:
    """Says when the next events may come (GCRA, the virtual scheduling of ITU-T I.371).

    What is not used is not saved, but for AT_ONCE seconds.
    """

    def __init__(self, rate: Rate, slot: Slot | None = None) -> None:
        self._interval = rate.interval
        self._tolerance = max(0.0, AT_ONCE - rate.interval)
        self._slot = slot or OwnSlot()

    def reserve(self, count: int = 1) -> float:
        """Take the place of so many events, and return in how many seconds they may come."""
        now = monotonic()
        before = self._slot.change(lambda used: max(used, now) + count * self._interval)
        return max(0.0, before - now - self._tolerance)

    def lacks(self, count: int = 1) -> bool:
        """Whether so many places must be asked for, by `refill`, before they are reserved."""
        return False

    def at_hand(self, count: int) -> int:
        """Return how many of so many places can be reserved now."""
        return count

    async def refill(self, wanted: int = 1, least: int = 1) -> bool:
        """Ask for places; returns whether the rate made that wait."""
        return False

    def give_back(self, count: int = 1) -> None:
        """Let others have the places of events that did not come."""
        self._slot.change(lambda used: used - count * self._interval)

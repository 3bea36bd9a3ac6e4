"""A rate that several machines share: places are taken from a ledger, those of a fraction of a second at once."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from random import random
from time import monotonic
from typing import NamedTuple, Protocol

from evbus_like.engine.rate import AT_ONCE, Bucket, Rate, Slot

PERIOD = 0.25  # seconds whose places are taken at once, by all runs together: each asks a few times a second
AHEAD = 1.0  # seconds: no place is taken that is further away, for a process may end before
LONGEST = 30.0  # seconds between two questions of a process that waits


class Grant(NamedTuple):
    """An answer of the ledger: in how many seconds the first place is, and whether it, and the others, were taken.

    `runs` are those that have asked lately, this one among them; the processes of one `evbus run` are one.
    """

    wait: float
    taken: bool
    runs: int


class Ledger(Protocol):
    """Where it is noted how far a rate is used up."""

    async def take(self, name: str, seconds: float) -> Grant | None:
        """Take places for so many seconds of a rate, unless they are more than AHEAD away; None without an answer."""


@dataclass(frozen=True)
class SharedLimit:
    """One rate in a ledger, by its name; `slot` is that of the run, for when the ledger does not answer."""

    ledger: Ledger
    name: str
    slot: Slot | None


class SharedBucket(Bucket):
    """Gives out the places that it has taken; while the ledger does not answer, its run keeps to a share of the rate.

    Places that are not used in time are lost, as those of a process alone are.
    """

    def __init__(self, rate: Rate, limit: SharedLimit) -> None:
        super().__init__(rate, limit.slot)
        self._limit = limit
        self._spacing = rate.interval
        self._left = 0
        self._next = 0.0  # when the next place is, on the clock `monotonic`
        self._size = 1  # places to take at once: twice as many as the last time if those were used up at once
        self._asked = 0.0
        self._runs = 1
        self._alone_until = 0.0  # so long the ledger is not asked again

    @property
    def _alone(self) -> bool:
        return monotonic() < self._alone_until

    def lacks(self, count: int = 1) -> bool:
        """Whether so many places must be asked for, by `refill`."""
        if self._alone:
            return False
        late = monotonic() - self._next - AT_ONCE
        if self._left > 0 and late > 0:
            lost = min(self._left, math.ceil(late / self._spacing))
            self._left -= lost
            self._next += lost * self._spacing
        return self._left < count

    def at_hand(self, count: int) -> int:
        """Return how many of so many places can be reserved now."""
        return count if self._alone else max(0, min(count, self._left))

    def reserve(self, count: int = 1) -> float:
        """Use places, and return in how many seconds they may be used."""
        if self._alone:
            return super().reserve(count)
        now = monotonic()
        at = max(self._next, now)
        self._next = at + count * self._spacing
        self._left -= count
        return max(0.0, at - now - self._tolerance)

    def give_back(self, count: int = 1) -> None:
        """Let others, or later events, have places that were not used."""
        if self._alone:
            super().give_back(count)
        else:
            self._next -= count * self._spacing
            self._left += count

    async def refill(self, wanted: int = 1, least: int = 1) -> bool:
        """Take places, at least so many, better as many as are wanted; returns whether the rate made that wait."""
        waited = False
        while self.lacks(least):
            most = max(1, int(PERIOD / self._runs / self._spacing))
            quick = monotonic() - self._asked < PERIOD
            self._size = min(most, self._size * 2 if quick else max(1, self._size // 2))
            self._asked = monotonic()
            count = max(least, min(wanted, most), self._size) - max(0, self._left)
            grant = await self._limit.ledger.take(self._limit.name, count * self._spacing)
            if grant is None:
                self._alone_until, self._left = monotonic() + PERIOD, 0
                self._interval = self._spacing * self._runs
                self._tolerance = max(0.0, AT_ONCE - self._interval)
                break
            self._runs = grant.runs
            if grant.taken:
                self._next = max(self._next, monotonic() + grant.wait)
                self._left += count
            else:
                waited = True
                await asyncio.sleep(min(LONGEST, max(0.01, grant.wait - AHEAD)) + 0.01 * random())
        return waited


def bucket(rate: Rate, slot: Slot | SharedLimit | None) -> Bucket:
    """Return the bucket of a rate, for this process, those that share a slot, or a ledger."""
    return SharedBucket(rate, slot) if isinstance(slot, SharedLimit) else Bucket(rate, slot)

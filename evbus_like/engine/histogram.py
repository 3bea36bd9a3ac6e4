"""A histogram of durations: how many took at most so many seconds."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import TypedDict

BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)  # seconds


class Durations(TypedDict):
    """A histogram: `buckets` counts those that took at most so many seconds, `sum` is in seconds."""

    count: int
    sum: float
    buckets: dict[str, int]


class Histogram:
    """Counts durations; one thread adds, any may read."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.sum += seconds

    def as_dict(self) -> Durations:
        """Return the counts so far as plain data."""
        sums = list(accumulate(self.counts))
        return {"count": sums[-1], "sum": self.sum, "buckets": dict(zip(map(str, BOUNDS), sums, strict=False))}


NOTHING = Histogram().as_dict()

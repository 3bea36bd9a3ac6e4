"""What a soak reads in a publisher's reports: the account, the memory, and whether events are delivered."""

import asyncio
import statistics
import time
from typing import Any

from tests.faults.soak.lanes import kind_of
from tests.faults.soak.process import PublisherProcess

GROWTH, SLACK = 0.2, 10 * 2**20  # the memory may grow by a fifth or 10 MiB, whichever is more
COUNTS = ("accepted", "delivered", "retries")
ENDS = ("delivered", "spilled", "dead_lettered", "dropped", "remaining")


class ReportMonitor:
    """Reads the reports: every account must balance, and no count may decrease."""

    def __init__(self, child: PublisherProcess) -> None:
        self.child = child
        self.violations: list[str] = []
        self.samples: list[int] = []  # bytes of memory: the least of each span of time, which leaves backlogs out
        self.checked = 0
        self.lanes: dict[str, dict[str, Any]] = {}  # the accounts of the last report, by profile
        self.at = 0.0  # when that arrived, by the monotonic clock
        self._refused = self._refused_before = 0
        self._span: list[int] = []

    async def run(self) -> None:
        """Check every report."""
        while True:
            self.take(await self.child.reports.get())

    def take(self, report: dict[str, Any]) -> None:
        """Check one report."""
        self.checked += 1
        self.at = time.monotonic()
        self._refused = report["refused"]
        self._span.append(report["rss"])
        for lane in report["account"]["destinations"]:
            profile = lane["destination"].partition(":")[2]
            if lane["accepted"] != sum(lane[part] for part in ENDS):
                self.violations.append(f"{profile}: the account does not balance: {lane}")
            if lane["dead_lettered"] or (lane["dropped"] and kind_of(profile) != "drop"):
                self.violations.append(f"{profile}: events were given up: {lane}")
            before = self.lanes.get(profile, lane)
            if any(lane[count] < before[count] for count in COUNTS):
                self.violations.append(f"{profile}: a count decreased: {before}, then {lane}")
            self.lanes[profile] = lane

    def forget_counts(self) -> None:
        """Expect a new account, because the publisher starts again."""
        while not self.child.reports.empty():
            self.take(self.child.reports.get_nowait())
        self._refused_before, self._refused = self.refused, 0
        self.lanes = {}

    def sample(self) -> None:
        """Record the least memory since the last sample."""
        if self._span:
            self.samples.append(min(self._span))
            self._span = []

    @property
    def refused(self) -> int:
        """How many puts the disk refused, in all runs."""
        return self._refused_before + self._refused

    @property
    def flat(self) -> bool:
        """Whether the memory of the last third is that of the second; the first is for warming up."""
        third = len(self.samples) // 3
        if not third:
            return True
        second, last = (statistics.median(part) for part in (self.samples[third:-third], self.samples[-third:]))
        return last <= max(second * (1 + GROWTH), second + SLACK)

    async def flows(self, seconds: float, more: int = 20) -> bool:
        """Wait until every lane has delivered `more` events; gives whether it happened in time."""
        until = time.monotonic() + seconds
        since: dict[str, int] = {name: lane["delivered"] for name, lane in self.lanes.items()}
        while time.monotonic() < until:
            await asyncio.sleep(0.2)
            if not self.child.runs:
                return False
            if self.lanes and all(lane["delivered"] >= since.get(n, 0) + more for n, lane in self.lanes.items()):
                return True
        return False

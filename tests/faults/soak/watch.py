"""What a soak looks at while it runs: the account, the memory, and whether events flow."""

import asyncio
import statistics
import time
from typing import Any

from tests.faults.soak.run import Child

GROWTH, SLACK = 0.2, 20 * 2**20  # the memory may grow by a fifth or 20 MiB, whichever is more
COUNTS = ("accepted", "delivered", "retries")


class Watch:
    """Reads the publisher's reports: every one of them must balance, and no count may go back."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.violations: list[str] = []
        self.samples: list[int] = []  # bytes of memory: the least of each span of time, so that no backlog is in it
        self.checked = 0
        self._span: list[int] = []
        self._last: dict[str, Any] = {}

    async def run(self) -> None:
        """Take in every report."""
        while True:
            self._take(await self.child.reports.get())

    def _take(self, report: dict[str, Any]) -> None:
        self.checked += 1
        self._span.append(report["rss"])
        for lane in report["account"]["destinations"]:
            name = lane["destination"]
            ended = sum(lane[part] for part in ("delivered", "spilled", "dead_lettered", "dropped", "remaining"))
            if lane["accepted"] != ended:
                self.violations.append(f"{name}: the account does not balance: {lane}")
            if lane["dead_lettered"] or lane["dropped"]:
                self.violations.append(f"{name}: events were given up: {lane}")
            before = self._last.get(name, lane)
            if any(lane[count] < before[count] for count in COUNTS):
                self.violations.append(f"{name}: a count went back: {before}, then {lane}")
            self._last[name] = lane

    def forget_counts(self) -> None:
        """Expect a new account: the publisher starts again."""
        self._last = {}

    def sample(self) -> None:
        """Note the least memory since the last sample."""
        if self._span:
            self.samples.append(min(self._span))
            self._span = []

    @property
    def flat(self) -> bool:
        """Whether the memory of the last third is that of the first, the very first sample left out."""
        samples = self.samples[1:]
        third = len(samples) // 3
        if not third:
            return True
        first, last = statistics.median(samples[:third]), statistics.median(samples[-third:])
        return last <= max(first * (1 + GROWTH), first + SLACK)

    async def flows(self, seconds: float, more: int = 20) -> bool:
        """Wait until every lane has delivered `more` events; gives whether it happened in time."""
        until = time.monotonic() + seconds
        since: dict[str, int] = {name: lane["delivered"] for name, lane in self._last.items()}
        while time.monotonic() < until:
            await asyncio.sleep(0.2)
            if not self.child.runs:
                return False
            if self._last and all(lane["delivered"] >= since.get(n, 0) + more for n, lane in self._last.items()):
                return True
        return False

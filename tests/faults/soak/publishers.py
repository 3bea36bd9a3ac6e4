"""A publisher of a soak, with its process, its reports and the ledger of its puts."""

import asyncio
import time
from pathlib import Path
from typing import Any

from tests.faults.sites import Site
from tests.faults.soak.arrivals import Arrivals
from tests.faults.soak.lanes import KEYS, most_lost_by_a_kill, profiles, provider_of
from tests.faults.soak.ledger import Ledger
from tests.faults.soak.monitor import ReportMonitor
from tests.faults.soak.process import PublisherProcess

LINE = (
    "accepted {accepted} = delivered {delivered} + pending {pending} + dead-lettered {dead_lettered}"
    " + dropped {dropped}"
)


class Publisher:
    """One publishing process; `arrivals_by_provider` are those of the readers, by provider."""

    def __init__(
        self,
        name: str,
        kinds: tuple[str, ...],
        sites: list[Site],
        arrivals_by_provider: dict[str, Arrivals],
        folders: tuple[Path, Path],
        **settings: Any,
    ) -> None:
        self.name = name
        self.kills = 0
        self._arrivals = arrivals_by_provider
        folder, outbox = (each / name for each in folders)
        for each in {folder, outbox}:
            each.mkdir()
        self.outbox = outbox / "outbox.sqlite"
        own = profiles(name, kinds, sites)
        self.names = [profile for given in own.values() for profile in given]
        self.confirm = settings.get("confirm", "accepted")
        self.child = PublisherProcess(folder, own, outbox_path=str(self.outbox), keys=KEYS, **settings)
        self.monitor = ReportMonitor(self.child)
        self.ledger = Ledger(self.child.side_file, self.arrivals)
        self._watching: asyncio.Task[None] | None = None

    def arrivals(self, profile: str) -> Arrivals:
        """Give the arrivals of the destination of a profile."""
        return self._arrivals[provider_of(profile)]

    async def start(self) -> None:
        """Start the process, for the first time or after a kill."""
        if self._watching is None:
            self._watching = asyncio.create_task(self.monitor.run())
        await self.child.start()

    async def kill(self) -> None:
        """Kill the process."""
        self.kills += 1
        await self.child.kill()
        self.monitor.forget_counts()

    async def stop(self) -> None:
        """Stop the process and check its last account."""
        last = await self.child.stop()
        while not self.child.reports.empty():
            self.monitor.take(self.child.reports.get_nowait())
        if last["account"]["remaining"] or last["account"]["spilled"]:
            self.monitor.violations.append(f"{self.name}: events remain after the stop: {last['account']}")

    async def close(self) -> None:
        """End the process and the reading of its reports; raises what ended the reading."""
        await self.child.close()
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching], timeout=10.0)
            if not self._watching.cancelled():
                self._watching.result()

    # ---- the account, compared with the readers

    def gone(self, profile: str) -> int:
        """Count the events of a lane that have not arrived and are neither pending nor counted as given up."""
        lane = self.monitor.lanes.get(profile, {})
        counted = sum(int(lane.get(count, 0)) for count in ("remaining", "dropped", "dead_lettered"))
        return max(0, self.ledger.missing(profile).total() - counted)

    def unaccounted(self) -> dict[str, int]:
        """Give the lanes that miss more events than kills explain, with their number."""
        gone = {profile: self.gone(profile) for profile in self.names}
        return {
            profile: count
            for profile, count in gone.items()
            if count > self.kills * most_lost_by_a_kill(profile, self.confirm)
        }

    async def adds_up(self, seconds: float) -> bool:
        """Compare the puts so far with a later report and later arrivals; gives whether the account adds up in time."""
        self.ledger.read()
        since, until = time.monotonic(), time.monotonic() + seconds
        while time.monotonic() < until:
            if self.monitor.at > since and self.monitor.lanes and not self.unaccounted():
                return True
            await asyncio.sleep(0.2)
        return False

    def line(self) -> dict[str, int]:
        """Give the account: accepted = delivered + pending + dead_lettered + dropped + gone_with_a_kill.

        Accepted are the puts that returned, delivered those that the readers have received.
        """
        missing = {profile: self.ledger.missing(profile).total() for profile in self.names}
        lanes = self.monitor.lanes
        gone = {profile: self.gone(profile) for profile in self.names}
        dropped = {p: min(missing[p] - gone[p], int(lanes[p]["dropped"])) for p in self.names if p in lanes}
        dead = {p: min(missing[p] - gone[p], int(lanes[p]["dead_lettered"])) for p in self.names if p in lanes}
        accepted = self.ledger.recorded.total()
        ends = {
            "delivered": accepted - sum(missing.values()),
            "dead_lettered": sum(dead.values()),
            "dropped": sum(dropped.values()),
            "gone_with_a_kill": sum(gone.values()),
        }
        return {"accepted": accepted, **ends, "pending": accepted - sum(ends.values())}


def as_line(account: dict[str, int]) -> str:
    """Write an account as an equation."""
    gone = account["gone_with_a_kill"]
    return LINE.format(**account) + (f" + {gone} gone from memory with a kill" if gone else "")

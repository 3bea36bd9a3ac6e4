"""The pace of a lane whose profile has a rate: how many events it may send now, and the wait for the next ones."""

from __future__ import annotations

import asyncio

from evbus_like.engine.rate import AT_ONCE, Rate, Slot
from evbus_like.engine.shared_rate import SharedLimit, bucket


class Pace:
    """Lets no more events pass than the rate says; `allowed` of them may be sent now."""

    def __init__(self, rate: Rate, slot: Slot | SharedLimit | None) -> None:
        self.allowed = 0
        self._bucket = bucket(rate, slot)
        self._at_once = max(1, int(AT_ONCE / rate.interval))

    async def refill(self, wanted: int, wake: asyncio.Event) -> bool | None:
        """Ask for places, if other machines share the rate and none are left; returns whether the rate made that wait.

        `wake` ends it, and gives None.
        """
        if not self._bucket.lacks():
            return False
        wake.clear()
        asking = asyncio.create_task(self._bucket.refill(wanted))
        waking = asyncio.create_task(wake.wait())
        try:
            await asyncio.wait((asking, waking), return_when=asyncio.FIRST_COMPLETED)
            return asking.result() if asking.done() else None
        finally:
            for task in (asking, waking):
                task.cancel()
            await asyncio.gather(asking, waking, return_exceptions=True)

    def ask(self, wanted: int) -> float:
        """Reserve places for at most so many events, and return in how many seconds these may be sent."""
        self.allowed = self._bucket.at_hand(min(wanted, self._at_once))
        return self._bucket.reserve(self.allowed)

    async def wait(self, delay: float, wake: asyncio.Event) -> None:
        """Wait until the reserved places may be used; `wake` ends the wait, and gives them back."""
        wake.clear()
        try:
            async with asyncio.timeout(delay):
                await wake.wait()
        except TimeoutError:
            return
        except asyncio.CancelledError:
            self._give_back()
            raise
        self._give_back()

    def _give_back(self) -> None:
        self._bucket.give_back(self.allowed)
        self.allowed = 0

    def spend(self, count: int) -> None:
        """Use places; for what was sent without one, later events wait."""
        if count > self.allowed:
            self._bucket.reserve(count - self.allowed)
        self.allowed = max(0, self.allowed - count)

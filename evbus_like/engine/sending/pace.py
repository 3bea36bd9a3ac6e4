"""The pace of a lane whose profile has a rate: how many events it may send now, and the wait for the next ones."""

from __future__ import annotations

import asyncio

from evbus_like.engine.rate import AT_ONCE, Bucket, Rate, Slot


class Pace:
    """Lets no more events pass than the rate says; `allowed` of them may be sent now."""

    def __init__(self, rate: Rate, slot: Slot | None) -> None:
        self.allowed = 0
        self._bucket = Bucket(rate, slot)
        self._at_once = max(1, int(AT_ONCE / rate.interval))

    def ask(self, wanted: int) -> float:
        """Reserve places for at most so many events, and return in how many seconds these may be sent."""
        self.allowed = min(wanted, self._at_once)
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

"""A block: the destination is there and takes nothing for now, so the clock of what it was given stands still."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from evbus_like.engine.errors import Blocked


class Block:
    """Knows whether a destination is blocked, and holds the deadline of its publish.

    What a blocked destination was given it reads later: a batch that is given up meanwhile would arrive twice. So the
    deadline stands still, and all its seconds are there again when the block is over. `error` is None while there is
    no block.
    """

    def __init__(self, timeout: float) -> None:
        self.error: Blocked | None = None
        self._timeout = timeout
        self._deadline: asyncio.Timeout | None = None
        self._over: asyncio.Event | None = None  # made when there is a block: a bus may have 10,000 lanes

    def deadline(self) -> asyncio.Timeout:
        """Give the deadline of one publish, to be entered at once."""
        self._deadline = asyncio.timeout(self._timeout if self.error is None else None)
        return self._deadline

    def begin(self, reason: str) -> Blocked:
        """Stop the clock; gives the error that says why."""
        self.error = Blocked(reason)
        self._over = self._over or asyncio.Event()
        self._move(None)
        return self.error

    def end(self) -> None:
        """Let the clock run again, if it stood still, and wake the one who waits."""
        if self.error is None or self._over is None:
            return
        self.error = None
        self._over.set()
        self._over = None
        self._move(asyncio.get_running_loop().time() + self._timeout)

    async def wait(self, seconds: float) -> None:
        """Return when the block is over, at the latest after so many seconds."""
        if self._over is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._over.wait()

    def _move(self, when: float | None) -> None:
        if self._deadline is not None:
            with suppress(RuntimeError):  # that publish is over, or its time was up
                self._deadline.reschedule(when)

"""A block: a destination that takes nothing for now, during which the deadline of a publish is suspended."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from evbus_like.engine.errors import Blocked


class Block:
    """Records whether a destination is blocked, and owns the deadline of its publish.

    A blocked destination reads later what was sent to it: a batch that timed out meanwhile would arrive twice. So the
    deadline is suspended, and starts anew when the block ends. `error` is None while there is no block.
    """

    def __init__(self, timeout: float) -> None:
        self.error: Blocked | None = None
        self._timeout = timeout
        self._deadline: asyncio.Timeout | None = None
        self._over: asyncio.Event | None = None  # created when a block begins: a bus may have 10,000 lanes

    def deadline(self) -> asyncio.Timeout:
        """Return the deadline of one publish, to be entered at once."""
        self._deadline = asyncio.timeout(self._timeout if self.error is None else None)
        return self._deadline

    def begin(self, reason: str) -> Blocked:
        """Suspend the deadline; returns the error that says why."""
        self.error = Blocked(reason)
        self._over = self._over or asyncio.Event()
        self._move(None)
        return self.error

    def end(self) -> None:
        """Restart the deadline, if it was suspended, and wake `wait`."""
        if self.error is None or self._over is None:
            return
        self.error = None
        self._over.set()
        self._over = None
        self._move(asyncio.get_running_loop().time() + self._timeout)

    async def wait(self, seconds: float) -> None:
        """Return when the block is over, or after so many seconds."""
        if self._over is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._over.wait()

    def _move(self, when: float | None) -> None:
        if self._deadline is not None:
            with suppress(RuntimeError):  # that publish is over or timed out
                self._deadline.reschedule(when)

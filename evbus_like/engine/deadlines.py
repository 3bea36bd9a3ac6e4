"""Deadlines for many waits with one timer, for waits that rarely time out."""

from __future__ import annotations

import asyncio
from typing import Any

NEVER = float("inf")


class DeadlineTimer:
    """Ends the waits of one event loop at their deadlines.

    A timer for each wait costs as much as a put; here a wait costs two changes of a dictionary. The one timer is set
    to the earliest deadline, and checks all waits when it fires.
    """

    def __init__(self) -> None:
        self._waits: dict[asyncio.Future[Any], float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._at = NEVER

    async def wait(self, future: asyncio.Future[Any], deadline: float) -> None:
        """Await a future of the running loop; raises TimeoutError at the deadline, which is a time of that loop."""
        self._waits[future] = deadline
        if deadline < self._at:
            self._set(deadline)
        try:
            await future
        finally:
            del self._waits[future]

    def _set(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._at = asyncio.get_running_loop().call_at(at, self._fire), at

    def _fire(self) -> None:
        self._timer, self._at = None, NEVER
        now = asyncio.get_running_loop().time()
        for future, deadline in list(self._waits.items()):
            if future.done():
                continue
            if deadline <= now:
                future.set_exception(TimeoutError())
            elif deadline < self._at:
                self._at = deadline
        if self._at < NEVER:
            self._set(self._at)

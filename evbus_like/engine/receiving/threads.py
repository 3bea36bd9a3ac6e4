"""Threads: calls functions that are not async, without holding up the loop."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

log = logging.getLogger("evbus_like.handlers")


class Threads:
    """Calls a handler's function in threads, `most` at once.

    A call that is beyond its timeout goes on, for a thread cannot be stopped; `most` such calls are let be, and no
    further one begins until one of them ends: so there are 2 * `most` threads, at most.
    """

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._pool = ThreadPoolExecutor(2 * most, thread_name_prefix=f"evbus_like {name}")
        self._left: set[asyncio.Future[Any]] = set()

    async def call(self, function: Callable[[Any], Any], event: Any, timeout: float | None) -> Any:
        """Call the function and give its result; raises what it raises, and TimeoutError after `timeout` seconds."""
        if len(self._left) >= self._most:
            log.error("%s: %d calls go on beyond their timeout; the next begins when one ends", self._name, self._most)
        while len(self._left) >= self._most:
            await asyncio.wait(self._left, return_when=asyncio.FIRST_COMPLETED)
        run = contextvars.copy_context().run
        called = asyncio.get_running_loop().run_in_executor(self._pool, run, _call, function, event)
        try:
            async with asyncio.timeout(timeout):
                result = await asyncio.shield(called)
                if inspect.isawaitable(result):  # a plain function that gives a coroutine: the work is in there
                    result = await result
                return result
        finally:
            if not called.done():
                self._left.add(called)
                called.add_done_callback(self._left.discard)

    def close(self) -> None:
        """Let go of the threads; one that never ends is left to the process."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _call(function: Callable[[Any], Any], event: Any) -> Any:
    try:
        return function(event)
    except StopIteration as error:  # which no future can hold: whoever awaits it would wait for ever
        raise RuntimeError("the function raised StopIteration") from error

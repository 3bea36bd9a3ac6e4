"""An application's functions for the start, for when its handlers receive, and for the stop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from evbus_like.engine.errors import LifecycleError
from evbus_like.engine.foreign import ends, tamed, text_of

log = logging.getLogger("evbus_like.lifespan")

LEAVE = 1.0  # seconds that a function has to end when it is cancelled
Function = Callable[[], Awaitable[object]]


class Hook(NamedTuple):
    """What one plugin does at the start, when handlers receive, and at the stop; `ref` is its place on the hub."""

    ref: str
    start: Function | None
    ready: Function | None
    stop: Function | None


class Lifespan:
    """Runs start and ready functions in their order; stop functions, of what has started, in the opposite one."""

    def __init__(self, hooks: Sequence[Hook]) -> None:
        self._hooks = hooks
        self._started: list[Hook] = []
        self._is_ready = False  # whether the ready functions have run, or run

    async def start(self, timeout: float) -> None:
        """Run the start functions, all within `timeout` seconds.

        Raises LifecycleError if one fails, or is late; what had started is stopped then.
        """
        deadline = _now() + timeout
        try:
            for hook in self._hooks:
                if hook.start is not None:
                    await _run(f"{hook.ref}.start", hook.start, deadline - _now())
                self._started.append(hook)
        except BaseException:
            await self.stop(timeout)
            raise

    async def ready(self, timeout: float) -> None:
        """Run the ready functions of what has started, all within `timeout` seconds; only the first call runs them.

        Raises LifecycleError if one fails, or is late.
        """
        if self._is_ready:
            return
        self._is_ready = True
        deadline = _now() + timeout
        for hook in tuple(self._started):
            if hook.ready is not None:
                await _run(f"{hook.ref}.ready", hook.ready, deadline - _now())

    async def stop(self, timeout: float) -> None:
        """Run the stop functions, all within `timeout` seconds; one that fails, or is late, is logged.

        Each may take an equal share of the time that is left.
        """
        deadline = _now() + timeout
        while self._started:
            share = (deadline - _now()) / len(self._started)
            hook = self._started.pop()
            if hook.stop is None:
                continue
            try:
                await _run(f"{hook.ref}.stop", hook.stop, share)
            except LifecycleError as error:
                log.error("%s", error)


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _run(name: str, function: Function, timeout: float) -> None:
    """Run a function for at most so many seconds; raises LifecycleError."""
    task = asyncio.create_task(_called(function))
    try:
        await asyncio.wait([task], timeout=max(0.0, timeout))
    finally:
        late = not task.done()
        if late:
            task.cancel()
            await asyncio.wait([task], timeout=LEAVE)
    if late:
        left = "" if task.done() else ", ignored its cancellation, and was abandoned"
        raise LifecycleError(
            f"{name} did not end within the {max(0.0, timeout):.3g} s that it had{left}: the setting lifespan_timeout"
            " is for all of them, and a stop gives them half of its time at most"
        )
    if task.cancelled():
        raise LifecycleError(f"{name} was cancelled by itself")
    if (error := task.exception()) is not None:
        raise LifecycleError(f"{name} failed: {text_of(error)}") from error


async def _called(function: Function) -> None:
    """Run a function; what is no Exception, as SystemExit, would end the event loop."""
    task = asyncio.current_task()
    try:
        await function()
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        if ends(error, task):
            raise
        raise tamed(error) from error

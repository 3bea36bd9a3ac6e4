"""Waiting: for a condition from any event loop, with deadlines, for the end of tasks, and for another loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from typing import Any, TypeVar

from evbus_like.engine.suggest import shown

NEVER = float("inf")
GRACE = 2.0  # seconds for cancelled tasks to end
LOOP_GRACE = 1.0  # seconds that a put from another event loop waits beyond its own deadline
YEAR = 365 * 86400  # seconds: the most that a caller may wait
T = TypeVar("T")
Waiter = tuple[asyncio.AbstractEventLoop, "asyncio.Future[None]"]


def wrong_timeout(value: Any) -> str:
    """Say what is wrong with the argument `timeout` of a call; an empty text if nothing is."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if number and 0 <= value <= YEAR:  # not so for nan
        return ""
    return f"timeout must be a number of seconds from 0 to {YEAR} (a year), not {shown(value)}"


class CrossLoopCondition:
    """Tasks that wait for one condition; the first to wait is the first to be woken."""

    def __init__(self) -> None:
        self.waiters: deque[Waiter] = deque()  # public, because reading it costs less than a call

    def __len__(self) -> int:
        return len(self.waiters)

    async def wait(self, must_wait: Callable[[], bool]) -> None:
        """Wait until woken; the condition is checked again after registering, so that no wake-up is lost."""
        loop = asyncio.get_running_loop()
        waiter: Waiter = (loop, loop.create_future())
        self.waiters.append(waiter)
        if not must_wait():
            self._forget(waiter)
            return
        try:
            await waiter[1]
        except BaseException:
            self._forget(waiter)
            if waiter[1].done() and not waiter[1].cancelled():
                self.wake_one()  # woken and cancelled at the same time: pass the wake-up on
            raise

    def wake_one(self) -> None:
        """Wake the first task that still waits, in its own loop."""
        while self.waiters:
            try:
                loop, future = self.waiters.popleft()
            except IndexError:  # another thread was faster
                return
            if future.done():
                continue
            if asyncio._get_running_loop() is loop:
                future.set_result(None)
                return
            try:
                loop.call_soon_threadsafe(self._complete, future)
            except RuntimeError:  # that loop is closed
                continue
            return

    def _complete(self, future: asyncio.Future[None]) -> None:
        """Complete a wake-up from another thread; if the task no longer waits, wake the next one."""
        if future.done():
            self.wake_one()
        else:
            future.set_result(None)

    def wake_all(self) -> None:
        """Wake all tasks that wait now."""
        for _ in range(len(self.waiters)):
            self.wake_one()

    def _forget(self, waiter: Waiter) -> None:
        with suppress(ValueError):
            self.waiters.remove(waiter)


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
        self.begin(future, deadline)
        try:
            await future
        finally:
            self.end(future)

    def begin(self, future: asyncio.Future[Any], deadline: float) -> None:
        """Do what `wait` does where a coroutine of its own would cost too much: await the future, then call `end`."""
        self._waits[future] = deadline
        if deadline < self._at:
            self._set(deadline)

    def end(self, future: asyncio.Future[Any]) -> None:
        """Forget a future."""
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


async def end_tasks(*tasks: asyncio.Task[Any]) -> bool:
    """Cancel tasks and wait a while for their end; returns whether one of them still runs."""
    for task in tasks:
        task.cancel()
    if not tasks:
        return False
    done, running = await asyncio.wait(tasks, timeout=GRACE)
    for task in done:
        if not task.cancelled():
            task.exception()  # retrieved, so that asyncio does not log it
    return bool(running)


async def run_in_loop(
    coroutine: Coroutine[Any, Any, T],
    loop: asyncio.AbstractEventLoop | None,
    timeout: float,
    *,
    blocked: Exception,
    closed: Exception,
) -> T:
    """Run a coroutine in another thread's event loop and return its result.

    Raises `closed` where that loop no longer exists, and `blocked` where it has no result after `timeout` seconds; the
    coroutine is then cancelled.
    """
    future = asyncio.wrap_future(_submit(coroutine, loop, closed))
    limit = asyncio.timeout(timeout)
    try:
        async with limit:
            return await future
    except TimeoutError:
        if limit.expired():
            raise blocked from None
        raise


def run_in_loop_and_block(
    coroutine: Coroutine[Any, Any, T],
    loop: asyncio.AbstractEventLoop | None,
    timeout: float,
    *,
    blocked: Exception,
    closed: Exception,
) -> T:
    """Do what `run_in_loop` does for a thread without an event loop."""
    future = _submit(coroutine, loop, closed)
    try:
        return future.result(timeout)
    except FutureTimeout:
        if future.done():
            raise  # the coroutine's own
        future.cancel()
        raise blocked from None


def _submit(coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop | None, closed: Exception) -> Future[T]:
    if loop is not None:
        with suppress(RuntimeError):
            return asyncio.run_coroutine_threadsafe(coroutine, loop)
    coroutine.close()
    raise closed


def in_event_loop() -> bool:
    """Whether this thread runs an event loop now."""
    return asyncio._get_running_loop() is not None

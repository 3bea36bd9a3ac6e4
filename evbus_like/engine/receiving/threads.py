"""Threads call functions that are not async, so that they do not block the event loop; processes that they fork end."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import os
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, NoReturn

log = logging.getLogger("evbus_like.handlers")


class ContextThreads(ThreadPoolExecutor):
    """An event loop's default executor, whose threads get the caller's context as with `asyncio.to_thread`.

    So what a handler puts from `loop.run_in_executor(None, ...)` is known to be its own.
    """

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call the function in a thread, in a copy of this context."""
        call = partial(_call, "code in a thread", function, args, kwargs)
        return super().submit(contextvars.copy_context().run, call)


class Threads:
    """Calls a handler's function in threads, `limit` at once.

    A thread cannot be stopped, so a call that is cancelled or timed out goes on. Up to `limit` of these abandoned calls
    may run beside the others; with more, no call begins until one of them ends. So there are at most 2 * `limit`
    threads.
    """

    def __init__(self, limit: int, name: str) -> None:
        self._limit = limit
        self._name = name
        self._pool = ThreadPoolExecutor(2 * limit, thread_name_prefix=f"evbus_like {name}")
        self._abandoned: set[asyncio.Future[Any]] = set()

    async def room(self) -> None:
        """Wait while too many abandoned calls run."""
        if len(self._abandoned) >= self._limit:
            log.error("%s: %d calls go on after their timeout; the next one waits for them", self._name, self._limit)
        while len(self._abandoned) >= self._limit:
            await asyncio.wait(self._abandoned, return_when=asyncio.FIRST_COMPLETED)

    async def call(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call the function and return its result; raises what it raises."""
        run = contextvars.copy_context().run
        called = asyncio.get_running_loop().run_in_executor(
            self._pool, run, partial(_call, self._name, function, args, kwargs)
        )
        try:
            result = await asyncio.shield(called)
            if inspect.isawaitable(result):  # a plain function that returns a coroutine: the work is in there
                result = await result
            return result
        finally:
            if not called.done():
                self._abandoned.add(called)
                called.add_done_callback(self._abandoned.discard)

    def close(self) -> None:
        """Start no further call; one that never ends is left to the process."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _call(name: str, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    process = os.getpid()
    try:
        result = function(*args, **kwargs)
    except BaseException as error:
        if os.getpid() != process:
            end_forked(name, error)
        if isinstance(error, (StopIteration, GeneratorExit)):  # no future can hand them to its awaiter
            raise RuntimeError(f"the function raised {type(error).__name__}") from error
        raise
    if os.getpid() != process:
        end_forked(name)
    return result


def end_forked(ref: str, error: BaseException | None = None) -> NoReturn:
    """End this process, as Python would: application code forked it, and has returned, or raised `error`.

    If it went on as a worker, it would settle its parent's events, and take sockets out of the epoll that both share.
    """
    code = 0
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    elif error is not None:
        code = 1
        log.error("%s: process %d, which it forked, ended with %s", ref, os.getpid(), type(error).__name__)
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(code & 0xFF)

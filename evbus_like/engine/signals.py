"""Signals: SIGTERM and SIGINT stop the bus, SIGHUP reloads it, if the application wants that."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable
from typing import Any

from evbus_like.engine.errors import EvbusError

log = logging.getLogger("evbus_like.bus")

SIGNALS = (signal.SIGTERM, signal.SIGINT)
AGAIN = 1.0  # seconds


def stop_on_signals(stop: Callable[[], Awaitable[Any]]) -> None:
    """Call `stop` at the first signal; a second one, a second later or more, has its default effect.

    Two within a second are one: `timeout` sends each to the program and to its group. Works in the main thread only.
    """
    loop = asyncio.get_running_loop()
    stopping: list[asyncio.Future[Any]] = []  # the loop itself keeps only weak references to tasks

    def default_again() -> None:
        for each in SIGNALS:
            loop.remove_signal_handler(each)

    def stop_now(number: int) -> None:
        if stopping:
            return
        log.warning("%s: the bus stops", signal.Signals(number).name)
        loop.call_later(AGAIN, default_again)
        stopping.append(asyncio.ensure_future(stop()))

    for number in SIGNALS:
        loop.add_signal_handler(number, stop_now, number)


def reload_on_signal(reload: Callable[[], Awaitable[Any]]) -> Callable[[str], None]:
    """Call `reload` at each SIGHUP, once for all that arrive during a reload. Works in the main thread only.

    Returns a function that does the same for another reason.
    """
    asked = asyncio.Event()
    reason = ""
    tasks: list[asyncio.Task[None]] = []  # the latest; it ends by the deadline of `reload`

    async def reload_while_asked() -> None:
        while asked.is_set():
            asked.clear()
            try:
                log.warning("%s: the profiles are reloaded: %s", reason, await reload())
            except Exception as error:
                text = error if isinstance(error, EvbusError) else type(error).__name__  # others may contain secrets
                log.error("%s: the profiles cannot be reloaded and are unchanged: %s", reason, text)

    def reload_now(why: str) -> None:
        nonlocal reason
        reason = why
        asked.set()
        if not tasks or tasks[-1].done():
            tasks[:] = [asyncio.create_task(reload_while_asked(), name="evbus_like reload")]

    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup does
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload_now, "SIGHUP")
    return reload_now

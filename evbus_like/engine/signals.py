"""Signals: SIGTERM and SIGINT stop the bus in good order, where an application asks for it."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable
from typing import Any

from evbus_like.engine.bus import Bus

log = logging.getLogger("evbus_like.bus")

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def stop_on_signals(bus: Bus, stop: Callable[[], Awaitable[Any]]) -> None:
    """Call `stop` at the first signal; a second one does what it does without us. Works in the main thread only."""
    loop = asyncio.get_running_loop()
    stopping: list[asyncio.Future[Any]] = []  # owned here: the loop keeps tasks by weak references

    def stop_now(number: int) -> None:
        log.warning("%s: the bus stops", signal.Signals(number).name)
        for each in SIGNALS:
            loop.remove_signal_handler(each)
        stopping.append(asyncio.ensure_future(stop()))

    for number in SIGNALS:
        loop.add_signal_handler(number, stop_now, number)

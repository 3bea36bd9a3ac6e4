"""Announce what this process does: to its supervisor if it is a worker, else to a service manager if there is one."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from evbus_like.processes.notify import EVERY, Notifier
from evbus_like.processes.worker import THIS, Worker


class Announcer:
    """Announces the states of this process."""

    def __init__(self, worker: Worker | None = THIS, notifier: Notifier | None = None) -> None:
        self._worker = worker
        self._notifier = notifier or Notifier.of_environment()
        self._is_ready = False

    def loading(self) -> None:
        """Announce that signals may come from now on; those that only a supervisor understands do nothing."""
        if self._worker is not None:
            signal.signal(signal.SIGUSR1, ignore)
            self._worker.tell("hello")

    @asynccontextmanager
    async def living(self, facts: Callable[[], Mapping[str, Any]] = dict) -> AsyncIterator[None]:
        """Announce that the event loop runs, with the facts that people may want to see, until the block ends."""
        tasks = [asyncio.create_task(self._notifier.keep_alive()), asyncio.create_task(self._until_ready())]
        if self._worker is not None:
            tasks.append(asyncio.create_task(self._worker.tell_alive(facts)))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _until_ready(self) -> None:
        while not self._is_ready:
            self._notifier.starting("waits for its sources")
            await asyncio.sleep(EVERY)

    def receiving(self) -> None:
        """Announce that it is ready."""
        self._is_ready = True
        self._notifier.ready("receives")
        if self._worker is not None:
            self._worker.tell("receiving")

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """Announce a reload, and its end."""
        self._notifier.reloading()
        try:
            yield
        finally:
            self._notifier.ready("receives")
            if self._worker is not None:
                self._worker.tell("reloaded")

    def stopping(self, seconds: float) -> None:
        """Announce that it stops, which may take so many seconds."""
        self._is_ready = True
        self._notifier.stopping(seconds)


def ignore(_number: int, _frame: object) -> None:
    """Do nothing; unlike SIG_IGN, processes that this one starts do not inherit it."""

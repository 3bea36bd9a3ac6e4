"""Supervise copies of this program: signals, the service manager, and the workers' messages."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from evbus_like.processes import child as process
from evbus_like.processes import shared
from evbus_like.processes.child import Child
from evbus_like.processes.notify import EVERY, Notifier
from evbus_like.processes.supervisor import Limits, Supervisor

log = logging.getLogger("evbus_like.processes")

AGAIN = 1.0  # seconds after which a signal is a second one
LOOK_EVERY = 0.2  # seconds


class Report(Protocol):
    """What hears of the workers."""

    def receiving(self, children: Sequence[Child]) -> None:
        """All workers receive, for the first time."""

    def stopping(self, reason: str) -> None:
        """All workers stop."""

    def ended(self, child: Child) -> None:
        """A worker has ended."""


class Supervision:
    """A supervisor with what is around it."""

    def __init__(self, count: int, limits: Limits, report: Report, notifier: Notifier | None = None) -> None:
        self.reason = ""  # the name of the signal that stopped it
        self._count = count
        self._limits = limits
        self._report = report
        self._notifier = notifier or Notifier.of_environment()
        leave_after = limits.stop + limits.grace

        self._memory = shared.made()

        async def start(number: int, waits: bool) -> Child:
            return await process.start(number, waits, leave_after, self._memory)

        self._supervisor = Supervisor(start, count, limits, report.ended)
        self._first_signal = 0.0
        self._reloads: set[asyncio.Task[None]] = set()

    @property
    def children(self) -> Sequence[Child]:
        """The running workers."""
        return self._supervisor.children

    async def run(self) -> int:
        """Run until a signal, and return the exit code."""
        handlers: dict[signal.Signals, Callable[[], object]] = {
            signal.SIGTERM: lambda: self._stop(signal.SIGTERM),
            signal.SIGINT: lambda: self._stop(signal.SIGINT),
            signal.SIGHUP: self.reload,
            signal.SIGUSR1: self._supervisor.roll,
        }
        loop = asyncio.get_running_loop()
        caught = [number for number in handlers if signal.getsignal(number) is not signal.SIG_IGN]
        for number in caught:
            loop.add_signal_handler(number, handlers[number])
        reporting = [asyncio.create_task(self._report_state()), asyncio.create_task(self._notifier.keep_alive())]
        try:
            return await self._supervisor.run()
        finally:
            for task in (*reporting, *self._reloads):
                task.cancel()
            await asyncio.gather(*reporting, *self._reloads, return_exceptions=True)
            for number in caught:
                loop.remove_signal_handler(number)
                if number in (signal.SIGTERM, signal.SIGINT):
                    signal.signal(number, signal.SIG_IGN if self._first_signal else signal.SIG_DFL)

    def _stop(self, number: signal.Signals) -> None:
        now = time.monotonic()
        if not self._first_signal:
            self._first_signal, self.reason = now, number.name
            self._report.stopping(number.name)
            self._notifier.stopping(self._limits.stop + self._limits.grace)
            self._supervisor.stop()
        elif now - self._first_signal > AGAIN:
            log.error("%s: the workers are killed", number.name)
            self._supervisor.kill()

    def reload(self) -> None:
        """Let all workers reload."""
        log.warning("the %d workers reload", self._count)
        task = asyncio.create_task(self._until_reloaded(), name="evbus_like reload")
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)

    async def _until_reloaded(self) -> None:
        self._notifier.reloading()
        reloading = self._supervisor.reload()
        await asyncio.gather(*(child.tells("reloaded", self._limits.stop) for child in reloading))
        self._notifier.ready(self.status())

    async def _report_state(self) -> None:
        """Report, also to the service manager, when all receive, and from then on now and then how many do."""
        last = -EVERY
        while not self._all_receive():
            if time.monotonic() - last >= EVERY:
                last = time.monotonic()
                self._notifier.starting(self.status())
            await asyncio.sleep(LOOK_EVERY)
        self._report.receiving(self._supervisor.children)
        self._notifier.ready(self.status())
        while True:
            await asyncio.sleep(EVERY)
            if not self._supervisor.stopping.is_set():
                self._notifier.status(self.status())

    def _all_receive(self) -> bool:
        return self._receiving() == self._count

    def _receiving(self) -> int:
        return len({child.number for child in self._supervisor.children if "receiving" in child.told})

    def status(self) -> str:
        """Say how many workers there are, and what they have handled since they started."""
        handled = sum(int(child.told.get("alive", {}).get("handled", 0)) for child in self._supervisor.children)
        return f"{self._receiving()} of {self._count} workers receive; they have handled {handled} events"

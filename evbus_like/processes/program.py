"""Supervise a program with a main of its own."""

from __future__ import annotations

import asyncio
import inspect
import logging
import signal
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from evbus_like.engine.errors import SettingError
from evbus_like.engine.waiting import wrong_timeout
from evbus_like.processes.announce import Announcer, ignore
from evbus_like.processes.count import count
from evbus_like.processes.worker import THIS

if TYPE_CHECKING:
    from evbus_like.processes.child import Child

log = logging.getLogger("evbus_like.processes")


def run(main: Callable[[], Any], processes: int | str | None = "auto", *, stop_timeout: float = 30.0) -> Any:
    """Run `main` in so many worker processes under a supervisor, or in this process if `processes` is None.

    `main` is a function without arguments, also a coroutine function. Call `run` once, in the main thread, where
    nothing runs yet. Each worker is this program, started once more with the same command line; there, `run` calls
    `main` and returns its result. In the supervisor it returns an exit code: 0 after SIGTERM or SIGINT if all workers
    ended with 0 then, else 1. `main` must stop at SIGTERM, within `stop_timeout` seconds. Raises SettingError for a
    number that is not from 1 to 256, or a wrong `stop_timeout`.
    """
    if wrong := wrong_timeout(stop_timeout):
        raise SettingError(f"stop_{wrong}")
    if THIS is None and processes is not None:
        return asyncio.run(_supervise(count(processes), stop_timeout))
    announcer = _announcer()
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, ignore)  # `main` may do something at it
    announcer.loading()
    if THIS is not None:
        THIS.wait_for_turn()
        THIS.tell("started", handlers=[], services=[])
    if not inspect.iscoroutinefunction(main):
        return main()

    async def living() -> Any:
        async with announcer.living():
            return await main()

    return asyncio.run(living())


def ready() -> None:
    """Tell the supervisor, or the service manager, that this process works; a rolling restart waits for that."""
    _announcer().receiving()


def number() -> int | None:
    """Return the number of this worker, from 1; None in a process without a supervisor. A replacement has the same."""
    return None if THIS is None else THIS.number


async def _supervise(processes: int, stop_timeout: float) -> int:
    from evbus_like.processes.supervise import Supervision  # a worker does not need them, nor does any plugin
    from evbus_like.processes.supervisor import Limits

    return await Supervision(processes, Limits(stop=stop_timeout), _Log(processes)).run()


class _Log:
    """Reports on the workers to the log."""

    def __init__(self, processes: int) -> None:
        self._processes = processes

    def receiving(self, children: Sequence[Child]) -> None:
        log.info(
            "all %d workers are ready (processes %s)", self._processes, ", ".join(str(each.pid) for each in children)
        )

    def stopping(self, reason: str) -> None:
        log.warning("%s: the %d workers stop", reason, self._processes)

    def ended(self, child: Child) -> None:
        log.info("worker %d (process %d) has ended", child.number, child.pid)


_announcers: list[Announcer] = []


def _announcer() -> Announcer:
    """Return the announcer of this process; it is made when it is first used."""
    if not _announcers:
        _announcers.append(Announcer())
    return _announcers[0]

"""The status document of all workers of a supervisor, which asks each of them over its Unix socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from evbus_like.engine.errors import SettingError
from evbus_like.monitor import ask, document, folder
from evbus_like.monitor.document import Process, Status

WITHIN = 5.0  # seconds that a worker has to answer


class Worker(Protocol):
    """A worker process."""

    number: int
    pid: int


class Workers:
    """Asks the workers that run; everybody who wants to know meanwhile gets the same answer."""

    def __init__(self, where: Callable[[], Path], count: int, running: Callable[[], Sequence[Worker]]) -> None:
        self._where = where
        self._count = count
        self._running = running
        self._asking: asyncio.Task[Status] | None = None

    async def status(self) -> Status:
        """Return the document of all workers; those that do not answer are reasons why not all is ready."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask(), name="evbus_like status of workers")
        return await asyncio.shield(self._asking)

    async def _ask(self) -> Status:
        workers = self._running()
        try:
            where = self._where()
        except SettingError as error:
            return document.status([], [str(error)])
        answers = await asyncio.gather(*(_ask(where, worker) for worker in workers))
        found = [each for each in answers if not isinstance(each, str)]
        there = {each["worker"] for each in found}
        silent = {worker.number: each for worker, each in zip(workers, answers, strict=True) if isinstance(each, str)}
        missing = [
            silent.get(number, f"worker {number} does not run now")
            for number in range(1, self._count + 1)
            if number not in there  # a worker that is being replaced answers; the new one waits
        ]
        return document.status(found, missing)


async def _ask(where: Path, worker: Worker) -> Process | str:
    """Return the document of one worker, or say why there is none."""
    path = where / folder.name_of(worker.pid, of_worker=True)
    who = f"worker {worker.number} (process {worker.pid})"
    if not path.exists():
        return f"{who} is starting, or cannot write to {where}; XDG_STATE_HOME names another place"
    try:
        (found,) = (await ask.by_socket(path, WITHIN))["processes"]
    except (ask.NoAnswer, ValueError) as error:
        return f"{who}: {error}"
    return found

"""What the writer is given to do: jobs, which have answers, and settled events, which nobody waits for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

from evbus_like.engine.outbox.store import PackedEvent, Store


class Job:
    """Events to append, or a function to run; `future` is resolved once the job is committed or has failed."""

    __slots__ = ("future", "loop", "packed", "size", "work")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        packed: Sequence[PackedEvent],
        size: int,
        work: Callable[[Store], Any] | None = None,
    ) -> None:
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self.packed = packed
        self.size = size  # bytes reserved in the usage, freed if the job fails
        self.work = work


Answer = tuple[Job, Any, BaseException | None]  # the result, or the error


def answer(answers: Sequence[Answer]) -> None:
    """Resolve the futures of jobs, with one call for each event loop."""
    while answers:
        loop = answers[0][0].loop
        its = [each for each in answers if each[0].loop is loop]
        with suppress(RuntimeError):  # that loop is closed, and its waiters with it
            loop.call_soon_threadsafe(_resolve, its)
        if len(its) == len(answers):
            return
        answers = [each for each in answers if each[0].loop is not loop]


def _resolve(answers: list[Answer]) -> None:
    for job, result, error in answers:
        if job.future.done():  # cancelled, or answered when the outbox could not be closed in time
            continue
        if error is None:
            job.future.set_result(result)
        else:
            job.future.set_exception(error)


LINGER = 0.02  # seconds that settled events wait for another commit; one of their own would double the commits
ENOUGH = 2000  # settled events that are written at once
RETRY = 5.0  # seconds until settled events are written again after the disk failed


class SettleBuffer:
    """Seqs of delivered events by destination: lanes add them, the writer takes them.

    They wait briefly for a commit that other events need anyway.
    """

    def __init__(self) -> None:
        self._seqs: dict[str, list[int]] = {}
        self._count = 0
        self._due = 0.0
        self._lock = threading.Lock()

    def add(self, destination: str, seqs: Sequence[int]) -> bool:
        """Add seqs; gives whether there are so many that the writer must be woken."""
        with self._lock:
            first = not self._count
            if first:
                self._due = monotonic() + LINGER
            self._count += len(seqs)
            self._seqs.setdefault(destination, []).extend(seqs)
            return self._count >= ENOUGH

    def put_back(self, seqs: dict[str, list[int]]) -> None:
        """Add seqs that could not be written, for the next commit or a later attempt."""
        for destination, its in seqs.items():
            self.add(destination, its)
        with self._lock:
            self._due = monotonic() + RETRY

    def take(self) -> dict[str, list[int]]:
        """Take all of them."""
        if not self._count:
            return {}
        with self._lock:
            seqs, self._seqs, self._count = self._seqs, {}, 0
            return seqs

    def due(self) -> bool:
        """Whether the seqs should be written now."""
        return bool(self._count) and (monotonic() >= self._due or self._count >= ENOUGH)

    def patience(self) -> float:
        """How many seconds the writer may sleep; -1 without limit."""
        return max(0.0, self._due - monotonic()) if self._count else -1

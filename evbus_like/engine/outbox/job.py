"""Jobs: what callers of any event loop give the writer to do, and how they get their answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from evbus_like.engine.outbox.store import Parcel, Store


class Job:
    """Events to append, or a piece of work; `future` is resolved once it is committed or has failed."""

    __slots__ = ("future", "loop", "many", "parcels", "size", "work")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        parcels: Sequence[Parcel],
        size: int,
        many: bool = False,
        work: Callable[[Store], Any] | None = None,
    ) -> None:
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self.parcels = parcels
        self.size = size  # bytes reserved in the tally, given back if the job fails
        self.many = many  # whether the answer is a list of seqs
        self.work = work


Answer = tuple[Job, Any, BaseException | None]  # the result, or the error


def answer(answers: Sequence[Answer]) -> None:
    """Resolve the futures of jobs: whatever their number, one call for each event loop."""
    while answers:
        loop = answers[0][0].loop
        its = [each for each in answers if each[0].loop is loop]
        with suppress(RuntimeError):  # that loop is closed, and whoever waited in it is gone
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

"""The writer: the one thread that uses the file, with many jobs in one commit."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic, perf_counter
from typing import Any

from evbus_like.engine.errors import BadEvent, EvbusError, OutboxClosed, StorageError
from evbus_like.engine.outbox.connection import is_storage, is_suspect, storage_error
from evbus_like.engine.outbox.jobs import LINGER, Job, SettleBuffer, answer
from evbus_like.engine.outbox.presence import FileGone
from evbus_like.engine.outbox.store import PackedEvent, Store
from evbus_like.engine.waiting import CrossLoopCondition

log = logging.getLogger("evbus_like.outbox")

WATCH = 1.0  # seconds between two looks at the files while there is nothing to write; each commit looks, too
GROUP_JOBS, GROUP_BYTES = 2000, 4 * 1024 * 1024  # what one commit takes together; the first job goes in at any size


class Writer:
    """Runs jobs in their order; those that arrive during one commit share the next.

    The queue of jobs has no bound of its own: each has a caller that awaits it, and the bytes of all count against the
    outbox's `max_bytes`.
    """

    def __init__(self, store: Store, at_end: Callable[[], None]) -> None:
        self.store = store
        self.commits = 0
        self._at_end = at_end
        self._jobs: deque[Job] = deque()
        self._doing: Sequence[Job] = ()
        self._settled = SettleBuffer()
        self._idle = False
        self._asleep = self._napped = False  # whether settled events must ring; whether the last wait was for such
        self._bell = (
            threading.Lock()
        )  # locked while there is nothing to do; faster than a Condition, which is Python code
        self._bell.acquire()
        self._closing = self._swept = self._over = False
        self._deadline = float("inf")
        self._end = CrossLoopCondition()
        self._failing = self._gone = False  # whether writes fail, and whether because a file is not in its place
        self._thread = threading.Thread(target=self._main, name="evbus_like outbox", daemon=True)

    # ---- any thread

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def submit(self, job: Job) -> asyncio.Future[Any]:
        """Queue a job of the running loop; gives its future."""
        self._jobs.append(job)
        if self._idle:
            self._idle = False  # tasks that are ready now run before the thread wakes: one commit takes all their jobs
            self._ring()
        if self._swept:
            self._sweep()
        return job.future

    def settle(self, destination: str, seqs: Sequence[int]) -> None:
        """Note that events were delivered; it is written with the next commit, or soon."""
        if self._settled.add(destination, seqs) or self._asleep:
            self._ring()

    async def close(self, timeout: float) -> None:
        """Finish all jobs, close the file and end; raises StorageError if that takes too long."""
        self._deadline = monotonic() + timeout
        self._closing = True
        self._ring()
        try:
            async with asyncio.timeout(timeout):
                while not self._over:
                    await self._end.wait(lambda: not self._over)
        except TimeoutError:
            error = f"the outbox {self.store.path} did not close within {timeout:g} s: its disk does not answer"
            answer([(job, None, StorageError(error)) for job in (*self._doing, *self._jobs)])
            raise StorageError(
                f"{error}; committed events are safe, and the lock is released when this process ends"
            ) from None

    def _ring(self) -> None:
        with suppress(RuntimeError):  # it was rung already
            self._bell.release()

    def _sweep(self) -> None:
        """Fail the jobs that arrived too late, or that the thread did not finish."""
        doing, self._doing = self._doing, ()
        jobs = deque(doing)
        with suppress(IndexError):
            while True:
                jobs.append(self._jobs.popleft())
        for job in jobs:
            self._fail(job, OutboxClosed(f"the outbox {self.store.path} is closed"))

    def _fail(self, job: Job, error: BaseException) -> None:
        if job.size:
            self.store.usage.free(job.size)
        answer([(job, None, error)])

    # ---- the thread

    def _main(self) -> None:
        try:
            self._work()
        except BaseException:
            log.exception("the outbox %s stops because of an unexpected error", self.store.path)
        finally:
            self._swept = True
            self._sweep()
            self.store.close()
            self._at_end()
            self._over = True
            self._end.wake_all()

    def _work(self) -> None:
        while True:
            jobs = self._take()
            if jobs or self._settled.due():
                self._doing = jobs
                self._group(jobs, self._settled.take())
                self._doing = ()
            elif self._closing:
                return self._group((), self._settled.take())
            else:
                self._wait()
            if monotonic() > self._deadline:
                return None

    def _wait(self) -> None:
        """Wait for a job, or for settled events. Those of a commit come soon: at first they need no wake-up."""
        self._idle = True
        self._asleep = self._napped
        if not self._jobs and not self._closing:  # a job that came before `_idle` was set did not ring
            patience = self._settled.patience()
            if patience < 0:
                patience, self._napped = (WATCH, True) if self._napped else (LINGER, True)
            if not self._bell.acquire(timeout=min(patience, WATCH)) and self._asleep:
                self._watch()
        self._idle = self._asleep = False

    def _watch(self) -> None:
        """Notice that the files are gone, or back, while there is nothing to write."""
        presence = self.store.presence
        if presence is None:
            return
        try:
            presence.check(log=not self._gone)
        except OSError as error:
            self.store.rollback(suspect=True)
            self._note(error)
        else:
            if self._gone:
                self._works_again()

    def _take(self) -> list[Job]:
        jobs: list[Job] = []
        popleft, size = self._jobs.popleft, 0
        while self._jobs and len(jobs) < GROUP_JOBS and size < GROUP_BYTES:
            job = popleft()
            if job.future.cancelled():
                self.store.usage.free(job.size)
            else:
                jobs.append(job)
                size += job.size
        return jobs

    def _group(self, jobs: Sequence[Job], settled: dict[str, list[int]]) -> None:
        """Run jobs in one transaction; if one of them makes it fail, each in its own."""
        if not jobs and not settled:
            return
        try:
            results = self._transaction(jobs, settled)
        except Exception as error:
            self.store.rollback(is_suspect(error))
            if is_storage(error):
                self._storage_failed(jobs, settled, error)
            elif len(jobs) + bool(settled) > 1:
                self._group((), settled)
                for job in jobs:
                    self._group((job,), {})
            elif jobs:
                self._fail(jobs[0], _blame(jobs[0], error))
            else:
                log.error("the outbox %s cannot record deliveries: %s", self.store.path, error)
            return
        self.commits += 1
        if self._failing:
            self._works_again()
        if jobs:
            self._napped = False
            answer([(job, result, None) for job, result in zip(jobs, results, strict=True)])

    def _transaction(self, jobs: Sequence[Job], settled: dict[str, list[int]]) -> list[Any]:
        store = self.store
        store.begin()
        for destination, seqs in settled.items():
            store.settle(destination, seqs)
        results: list[Any] = []
        packed: list[PackedEvent] = []
        for job in jobs:
            if job.work is None:
                first = store.next_seq + len(packed)
                results.append(list(range(first, first + len(job.packed))))
                packed += job.packed
            else:
                store.append(packed)
                store.run()
                packed = []
                results.append(job.work(store))
        store.append(packed)
        begun = perf_counter()
        store.commit()
        store.usage.commits.add(perf_counter() - begun)
        return results

    def _storage_failed(self, jobs: Sequence[Job], settled: dict[str, list[int]], error: Exception) -> None:
        self._settled.put_back(settled)
        self._note(error)
        for job in jobs:
            self._fail(job, storage_error(self.store.path, error))

    def _note(self, error: Exception) -> None:
        """Log the first of several failures, and keep it for the status."""
        self._gone = isinstance(error, FileGone)
        if not self._failing:
            self._failing = True
            found, usage = storage_error(self.store.path, error), self.store.usage
            held = f" ({usage.pending.total()} events and {usage.dead} dead letters were in it)" if self._gone else ""
            usage.trouble = str(found)
            log.error("%s%s", found, held)

    def _works_again(self) -> None:
        self._failing = self._gone = False
        self.store.usage.trouble = ""
        log.warning("the outbox %s works again", self.store.path)


def _blame(job: Job, error: Exception) -> Exception:
    if isinstance(error, EvbusError) or job.work is not None:
        return error
    return BadEvent(f"the outbox cannot hold this event: {type(error).__name__}: {error}")

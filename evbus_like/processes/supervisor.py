"""The supervisor: keeps N workers running, reloads them, replaces them one at a time, and stops them in order."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from evbus_like.engine.backoff import Backoff
from evbus_like.processes.child import Child

log = logging.getLogger("evbus_like.processes")

UNUSABLE = 2  # exit code of a worker whose options, settings or profiles are wrong
TICK = 1.0  # seconds between two looks at the workers


@dataclass(frozen=True)
class Limits:
    """How long the supervisor waits, in seconds."""

    stop: float = 30.0  # for a worker to stop; it is killed `grace` seconds later
    grace: float = 10.0
    start: float = 60.0  # for a new worker to load, and then to receive, in a rolling restart
    silent: float = 300.0  # for a sign of life of a worker; 0: for ever
    lived: float = 60.0  # after which the end of a worker is no longer one in a row
    backoff: float = 0.5  # before the first restart
    backoff_cap: float = 30.0


class Slot:
    """The place of one worker. When the worker ends, a new one is started in it."""

    def __init__(self, number: int, supervisor: Supervisor) -> None:
        self.number = number
        self.child: Child | None = None
        self._supervisor = supervisor
        self._limits = supervisor.limits
        self._backoff = Backoff(self._limits.backoff, self._limits.backoff_cap)

    async def keep(self) -> None:
        """Start a worker, and a new one whenever it ends, until the supervisor stops."""
        while not self._supervisor.stopping.is_set():
            if self.child is None:
                try:
                    self.child = await self._supervisor.start(self.number)
                except OSError as error:
                    wait = self._backoff.next()
                    log.error("worker %d cannot be started: %s; the next try is in %.1f s", self.number, error, wait)
                    await self._supervisor.unless_stopping(wait)
                    continue
            child = self.child
            code = await child.ended()
            self._supervisor.forget(child)
            if self.child is child:  # else it was replaced
                self.child = None
                self._supervisor.first_has_begun(code)
                await self._wait_before_restart(child, code)

    async def _wait_before_restart(self, child: Child, code: int) -> None:
        if self._supervisor.stopping.is_set():
            return
        if time.monotonic() - child.begun >= self._limits.lived:
            self._backoff.reset()
        wait = self._backoff.next()
        log.error("%s %s; a new one starts in %.1f s", named(child), how(code), wait)
        await self._supervisor.unless_stopping(wait)

    async def replace(self) -> bool:
        """Replace the worker by a new one; return whether that receives.

        The new one first loads what it needs, and waits. If it cannot, the old one stays. There are never two workers
        with one number: it stands for queues, members of groups and the like.
        """
        new = await self._supervisor.start(self.number, True)
        if not await self._told(new, "loaded"):
            await self._supervisor.end(new)
            return False
        old, self.child = self.child, new
        if old is not None:
            await self._supervisor.end(old)
        new.go()
        return await self._told(new, "receiving")

    async def _told(self, new: Child, event: str) -> bool:
        within = self._limits.start
        told = await self._supervisor.unless_stopping(within, new.tells(event, within))
        if not told and not self._supervisor.stopping.is_set():
            log.error("%s, which replaces another, has ended, or is not %s within %g s", named(new), event, within)
        return told


class Supervisor:
    """Runs `count` workers; it knows nothing of what they do.

    `start` starts one with a number, and says whether it waits for `go`; `on_end` is called with each that has ended.
    """

    def __init__(
        self,
        start: Callable[[int, bool], Awaitable[Child]],
        count: int,
        limits: Limits | None = None,
        on_end: Callable[[Child], None] = lambda child: None,
    ) -> None:
        self.limits = limits or Limits()
        self.stopping = asyncio.Event()
        self.slots = [Slot(number, self) for number in range(1, count + 1)]
        self.clean = True  # whether every worker that was stopped ended in order
        self._begun = self._unusable = False
        self._start = start
        self._on_end = on_end
        self._children: set[Child] = set()
        self._rolling: asyncio.Task[None] | None = None
        self._roll_again = False

    @property
    def children(self) -> Sequence[Child]:
        """The running workers; two in one place while one replaces the other."""
        return sorted(self._children, key=lambda child: (child.number, child.begun))

    async def start(self, number: int, waits: bool = False) -> Child:
        """Start a worker; raises OSError."""
        child = await self._start(number, waits)
        self._children.add(child)
        if self.stopping.is_set():
            await self.end(child)
        return child

    def forget(self, child: Child) -> None:
        """Forget a worker that has ended."""
        if child in self._children:
            self._children.discard(child)
            self._on_end(child)

    async def run(self) -> int:
        """Run the workers until `stop`; return 0, 1 if a worker did not end in order, or 2 if none could be started.

        The first one starts alone: where its settings are wrong, it says so once, and the others are not started.
        """
        first, *others = self.slots
        keeping = [asyncio.create_task(first.keep(), name="evbus_like worker 1")]
        watching = asyncio.create_task(self._watch(), name="evbus_like workers")
        try:
            await self._until_first_has_begun(first)
            keeping += [asyncio.create_task(slot.keep(), name=f"evbus_like worker {slot.number}") for slot in others]
            await self.stopping.wait()
            await asyncio.gather(*(self.end(child) for child in self.children))
            await asyncio.wait([*keeping, *filter(None, [self._rolling])])  # each sees that all stop
            return UNUSABLE if self._unusable else int(not self.clean)
        finally:
            tasks = [*keeping, watching, *filter(None, [self._rolling])]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _until_first_has_begun(self, slot: Slot) -> None:
        while not (self.stopping.is_set() or self._begun):
            if slot.child is not None and await self.unless_stopping(TICK, slot.child.tells("started", TICK)):
                self.first_has_begun(0)
            await asyncio.sleep(0.01)

    def first_has_begun(self, code: int) -> None:
        """Note that the first worker has started, or has ended with an exit code; all stop if it is unusable."""
        if not self._begun and code == UNUSABLE:
            self._unusable = True
            self.stop()
        self._begun = True

    async def unless_stopping(self, timeout: float, until: Awaitable[bool] | None = None) -> bool:
        """Wait for something, at most `timeout` seconds; return False if it is not there then, or all stop."""
        stopped = asyncio.create_task(self.stopping.wait())
        awaited = asyncio.ensure_future(until) if until is not None else None
        try:
            tasks = {stopped, awaited} if awaited is not None else {stopped}
            await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            return awaited is not None and awaited.done() and awaited.result()
        finally:
            stopped.cancel()
            if awaited is not None:
                awaited.cancel()

    # ---- what is asked of it

    def stop(self) -> None:
        """Stop all workers in order; `run` returns when they have ended."""
        self.stopping.set()

    def kill(self) -> None:
        """End all workers at once."""
        for child in self.children:
            child.send(signal.SIGKILL)

    def reload(self) -> Sequence[Child]:
        """Let all workers reload, and return them; one that has told nothing yet reads everything anyhow."""
        told = [child for child in self.children if "hello" in child.told]
        for child in told:
            child.told.pop("reloaded", None)
            child.send(signal.SIGHUP)
        return told

    def roll(self) -> None:
        """Replace all workers, one at a time; while that goes on, another round is begun after it."""
        if self._rolling is not None and not self._rolling.done():
            self._roll_again = True
            return
        self._rolling = asyncio.create_task(self._roll(), name="evbus_like rolling restart")

    async def _roll(self) -> None:
        again = True
        while again and not self.stopping.is_set():
            self._roll_again = False
            log.warning("the %d workers are replaced, one at a time", len(self.slots))
            for done, slot in enumerate(self.slots):
                if self.stopping.is_set():
                    return
                try:
                    replaced = await slot.replace()
                except OSError as error:
                    log.error("worker %d cannot be started: %s", slot.number, error)
                    replaced = False
                if not replaced:
                    if not self.stopping.is_set():
                        log.error(
                            "the rolling restart has ended early: %d of %d workers are new", done, len(self.slots)
                        )
                    return
            log.warning("all %d workers are replaced", len(self.slots))
            again = self._roll_again

    # ---- within

    async def _watch(self) -> None:
        """Kill workers whose event loop has shown no life for too long; forget those that have ended."""
        silent: dict[Child, tuple[float, float]] = {}  # the last sign of life, and seconds since then
        for_ever = self.limits.silent <= 0
        while True:
            await asyncio.sleep(TICK)
            silent = {child: silent.get(child, (child.heard, 0.0)) for child in self._children}
            for child, (heard, seconds) in silent.items():  # counted in ticks: this process may have been stopped
                silent[child] = (child.heard, seconds + TICK if heard == child.heard else 0.0)
                if "alive" in child.told and not for_ever and silent[child][1] >= self.limits.silent:
                    log.error("%s has shown no life for %g s and is killed", named(child), self.limits.silent)
                    child.send(signal.SIGKILL)
                    silent[child] = (child.heard, 0.0)

    async def end(self, child: Child) -> None:
        """Stop a worker in order, and kill it if that takes too long."""
        child.send(signal.SIGTERM)
        ended = asyncio.ensure_future(child.ended())
        late = self.limits.stop + self.limits.grace
        await asyncio.wait([ended], timeout=late)
        if not ended.done():
            log.error("%s did not stop within %g s and is killed", named(child), late)
            child.send(signal.SIGKILL)
            self.clean = False
        code = await ended
        nothing_was_begun = code == -signal.SIGTERM and "started" not in child.told
        if code and not nothing_was_begun:
            log.error("%s %s", named(child), how(code))
            self.clean = False
        self.forget(child)


def named(child: Child) -> str:
    """Name a worker."""
    return f"worker {child.number} (process {child.pid})"


def how(code: int) -> str:
    """Say how a process ended, by its exit code."""
    if code >= 0:
        return f"ended with exit code {code}"
    with suppress(ValueError):
        return f"was killed by {signal.Signals(-code).name}"
    return f"was killed by signal {-code}"

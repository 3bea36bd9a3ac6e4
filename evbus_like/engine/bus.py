"""The bus: takes events in, routes and serializes them, and owns the lanes that carry them out."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakSet

from evbus_like.engine.account import Account
from evbus_like.engine.deadlines import DeadlineTimer
from evbus_like.engine.errors import BusStopped, LifecycleError, PutError
from evbus_like.engine.event import Event
from evbus_like.engine.failure import Report
from evbus_like.engine.loops import CrossLoopCondition, run_in_loop
from evbus_like.engine.queue import Queue
from evbus_like.engine.sending.admission import Admission
from evbus_like.engine.sending.lane import Lane
from evbus_like.engine.sending.router import Entry
from evbus_like.engine.sending.worker import Worker

if TYPE_CHECKING:
    from evbus_like.engine.outbox import Outbox

log = logging.getLogger("evbus_like.bus")

State = Literal["new", "running", "stopping", "stopped"]
PUMP = 100  # events routed and serialized in one go
SHARE_EVENTS, SHARE_BYTES = 1000, 512 * 1024  # what the listener does before the other tasks of the loop get their turn
ANSWER_MS = 1000  # milliseconds, at most, that the answers of a closed outbox are waited for
LOOP_GRACE = 10.0  # seconds that a stop from another event loop waits beyond its own deadline


class Bus:
    """Holds the intake queue and the workers; `run` is the listener.

    Putting is in `put.py`, routing and serializing in `admission.py`. All but the intake queue is touched in the
    listener's loop only.
    """

    def __init__(self, report: Report, max_events: int = 100_000) -> None:
        self.report = report
        self.intake: Queue[Event] = Queue(max_events, "the bus's intake queue")
        self.state: State = "new"
        self.closed = False  # whether puts are refused
        self.forked = False  # whether this is the child of the process that runs the bus
        self.loop: asyncio.AbstractEventLoop | None = None
        self.workers: dict[Lane, Worker] = {}  # also of lanes whose profile was removed since the start
        self.outbox: Outbox | None = None
        self.admission = Admission((), report, self._deliver_due)
        self.deadlines = DeadlineTimer()  # over those who wait for receipts
        self._due: list[Callable[[], None]] = []  # what delivers events that need not wait, lane by lane
        self._due_soon = False  # whether the loop was asked to do so
        self._changed = CrossLoopCondition()  # of the state
        self._start_error: BaseException | None = None
        self._failed_starts = 0
        self._error_raised = False  # whether a join has raised the error already
        self._finishing: asyncio.Task[Account] | None = None

    # ---- life cycle

    def refusal(self, profile: str) -> PutError | LifecycleError:
        """Make the error for whoever puts, or waits, where the bus takes nothing."""
        if self.forked:
            return LifecycleError(
                "this process was forked from one whose bus runs: the loop, the connections and the outbox are the"
                " parent's. Make a hub of its own in the child, or start children by the method spawn"
            )
        return BusStopped(
            f"the bus is stopped and takes no events (profile {profile!r}); put before stop, or start it again"
        )

    def require_not_running(self) -> None:
        """Raise LifecycleError where a listener runs already."""
        self._must_own()
        if self.state in ("running", "stopping"):
            raise LifecycleError(
                f"start was called while the bus is {self.state}; a hub has one listener: await stop() before start()"
            )

    def require_running(self, what: str) -> None:
        """Raise LifecycleError where the bus does not run in this event loop."""
        self._must_own()
        if self.state != "running" or self.loop is not asyncio.get_running_loop():
            raise LifecycleError(f"{what} needs the bus, running in the same event loop: await hub.evbus.init.join()")

    def _must_own(self) -> None:
        if self.forked:
            raise self.refusal("")

    async def run(self, entries: Sequence[Entry], outbox: Outbox | None = None) -> None:
        """Be the listener until `stop` is called; cancelling it stops the bus without draining.

        `outbox` is open, and is closed in the end.
        """
        self.require_not_running()
        self.outbox = outbox
        self.admission = Admission(entries, self.report, self._deliver_due, outbox)
        self.loop, self.deadlines = asyncio.get_running_loop(), DeadlineTimer()
        self.workers = {}
        self._finishing = None
        for lane in dict.fromkeys(entry.lane for entry in entries):
            self.open(lane)
        self._become("running")
        try:
            while self.state == "running":
                if not self.intake.items:
                    await self.intake.wait_filled()
                self.admit_queued()
                await asyncio.sleep(0)
            while self.state == "stopping":
                await self._changed.wait(lambda: self.state == "stopping")
        finally:
            if self.state == "running":
                await self._finish(0.0)

    def open(self, lane: Lane) -> None:
        """Open a lane, and let a worker empty it."""
        lane.open(self.outbox, self.admission.forward)
        self.workers[lane] = Worker(lane, self._due)
        self.workers[lane].start()

    def attach_outbox(self, outbox: Outbox) -> None:
        """Use an outbox from here on, for the first profile that needs one came while the bus ran."""
        self.outbox = self.admission.commits.outbox = outbox
        for lane in self.workers:
            if lane.state != "closed":
                lane.open(outbox, self.admission.forward)

    def set_routes(self, entries: Sequence[Entry]) -> None:
        """Route by other profiles from here on; their lanes are open."""
        self.admission.set_routes(entries)
        self._deliver_due()

    def start_failed(self, error: BaseException) -> None:
        """Tell those who wait in `join`, or the next who comes, that this start failed; what was put stays queued."""
        self._failed_starts += 1
        self._start_error, self._error_raised = error, False
        self._changed.wake_all()

    async def join(self, timeout: float | None = None) -> None:
        """Wait until the listener runs; raises what `start` raised, or TimeoutError."""
        self._must_own()
        seen = self._failed_starts - (self._start_error is not None and not self._error_raised)
        await asyncio.sleep(0)  # a start that was only just made a task begins first
        async with asyncio.timeout(timeout):
            while self.state != "running":
                if self._failed_starts != seen and self._start_error is not None:
                    self._error_raised = True
                    raise self._start_error
                await self._changed.wait(lambda: self.state != "running" and self._failed_starts == seen)

    async def stop(self, timeout: float) -> Account:
        """Refuse new events, deliver what is queued, close every connection, and give the account.

        It ends within about `timeout` seconds; what could not be delivered by then is the account's `remaining`.
        """
        self._must_own()
        if self.loop is None:
            if self.intake.items:
                log.warning("stop before start: %d events stay queued until a start", self.intake.qsize())
            return self.account()
        if self.loop.is_closed():
            self._become("stopped")
            return self.account()
        if asyncio.get_running_loop() is not self.loop:
            return await run_in_loop(
                self.stop(timeout),
                self.loop,
                timeout + LOOP_GRACE,
                blocked=LifecycleError(
                    f"the listener's event loop did not answer for {timeout + LOOP_GRACE:g} s; is it blocked?"
                ),
                closed=LifecycleError("the listener's event loop was closed while the bus was being stopped"),
            )
        if self._finishing is None and self.state == "running":
            self._become("stopping")
            self._finishing = asyncio.create_task(self._finish(timeout), name="evbus_like stop")
        if self._finishing is None:
            return self.account()
        return await asyncio.shield(self._finishing)

    async def _finish(self, timeout: float) -> Account:
        now = asyncio.get_running_loop().time
        deadline = now() + timeout
        self._become("stopping")
        self.intake.wake()
        while (self.intake.items or self.admission.commits) and now() < deadline:
            self.admit_queued()
            await asyncio.sleep(0 if self.intake.items else 0.001)
        self._deliver_due()
        drains = [asyncio.create_task(worker.drain()) for worker in self.workers.values()]
        if drains:
            for_closing = min(2.0, timeout / 4)
            _, late = await asyncio.wait(drains, timeout=max(0.0, deadline - now() - for_closing))
            for task in late:
                task.cancel()
        await asyncio.gather(*(worker.close(max(0.5, deadline - now())) for worker in self.workers.values()))
        for event in self.intake.items:
            if event.receipt is not None:
                event.receipt.withdraw(self.refusal(event.profile))
        await self._close_outbox(max(1.0, deadline - now()))
        account = self.account()
        self._become("stopped")
        log.log(logging.INFO if account.complete else logging.WARNING, "the bus is stopped: %s", account)
        return account

    async def _close_outbox(self, timeout: float) -> None:
        if self.outbox is not None:
            try:
                await self.outbox.close(timeout)
            except PutError as error:
                log.error("%s", error)
        for _ in range(ANSWER_MS):  # it has answered for every event by now, and the answers are on their way
            if not self.admission.commits:
                break
            await asyncio.sleep(0.001)

    def _become(self, state: State) -> None:
        self.state = state
        self.closed = state in ("stopping", "stopped")
        (_running.discard if state == "stopped" else _running.add)(self)
        self._start_error = None
        self._changed.wake_all()

    # ---- the road of an event

    def admit_queued(self) -> None:
        """Route and serialize what the intake queue holds, as much as is fair to the other tasks of the loop."""
        events = size = 0
        while self.intake.items and events < SHARE_EVENTS and size < SHARE_BYTES:
            pumped = self.intake.take(PUMP)
            size += self.admission.admit_batch(pumped)
            self.intake.task_done(len(pumped))
            events += PUMP
        self._deliver_due()

    def admit(self, event: Event) -> tuple[str, ...]:
        """Admit one event and give the names of its lanes; raises PutError, and then no lane has it."""
        if self.state == "stopped":
            raise self.refusal(event.profile)
        names = self.admission.admit(event)
        if self._due and not self._due_soon and self.loop is not None:
            self._due_soon = True
            self.loop.call_soon(self._deliver_due)
        return names

    def _deliver_due(self) -> None:
        """Deliver what need not wait."""
        self._due_soon = False
        due = self._due[:]
        self._due.clear()
        for deliver_now in due:
            deliver_now()

    def status(self) -> dict[str, Any]:
        """Give what there is to know now, as plain data."""
        outbox = self.outbox.counts() if self.outbox is not None else None
        return {
            "state": self.state,
            "queued": self.intake.qsize(),
            "unmatched": self.admission.unmatched,
            "rejected": self.admission.rejected,
            "outbox": None if outbox is None else asdict(outbox),
            "destinations": {lane.name: lane.status() for lane in self.workers},
        }

    def account(self) -> Account:
        """Give the account as it stands now."""
        return Account(
            put=self.admission.taken + self.intake.qsize(),
            unmatched=self.admission.unmatched,
            rejected=self.admission.rejected,
            queued=self.intake.qsize(),
            lanes=[lane.account() for lane in self.workers],
        )

    @property
    def lanes(self) -> Sequence[Lane]:
        """The lanes of the running, or of the last, listener; also those whose profile was removed meanwhile."""
        return tuple(self.workers)


_running: WeakSet[Bus] = WeakSet()


def _disown() -> None:
    """In a child process: the loop, the connections and the outbox of a running bus are the parent's."""
    for bus in list(_running):
        bus.forked = bus.closed = True


os.register_at_fork(after_in_child=_disown)

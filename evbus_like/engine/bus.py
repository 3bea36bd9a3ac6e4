"""The bus: accepts events, routes and serializes them, and owns the lanes that deliver them."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakSet

from evbus_like.engine import event_log, logs
from evbus_like.engine.account import Account
from evbus_like.engine.errors import BusStopped, LifecycleError, PutError
from evbus_like.engine.event import Event
from evbus_like.engine.failure import Report
from evbus_like.engine.forked import detach
from evbus_like.engine.queue import Intake, size_of
from evbus_like.engine.sending.admission import Admission
from evbus_like.engine.sending.lane import Lane
from evbus_like.engine.sending.logged import LoggedAdmission
from evbus_like.engine.sending.router import Entry
from evbus_like.engine.sending.worker import Worker
from evbus_like.engine.waiting import CrossLoopCondition, DeadlineTimer, run_in_loop

if TYPE_CHECKING:
    from evbus_like.engine.outbox import Outbox
    from evbus_like.engine.sending.scheduler import Scheduler
    from evbus_like.engine.sending.tables import Tables

log = logging.getLogger("evbus_like.bus")

State = Literal["new", "running", "stopping", "stopped"]
CHUNK = 100  # events admitted at once
SHARE_EVENTS, SHARE_BYTES = 1000, 256 * 1024  # admitted before other tasks of the loop run
STOP_GRACE = 2.0  # seconds, as the setting stop_grace
ANSWER_MS = 1000  # the most milliseconds to wait for the answers of a closed outbox
LOOP_GRACE = 10.0  # seconds that a stop from another event loop waits beyond its own deadline


class Bus:
    """Owns the intake queue and the workers; `run` is the listener.

    `put.py` puts events, `admission.py` routes and serializes them. Only the intake queue may be used outside of the
    listener's loop.
    """

    def __init__(self, report: Report, max_events: int = 100_000, max_bytes: int = 32 * 1024 * 1024) -> None:
        self.report = report
        self.intake = Intake(max_events, max_bytes, "the bus's intake queue")
        self.intake.measure = self._measure
        self.state: State = "new"
        self.closed = False  # whether puts are refused, as after a stop
        self.forked = False  # whether this process was forked from one that runs the bus
        self.loop: asyncio.AbstractEventLoop | None = None
        self.workers: dict[Lane, Worker] = {}  # also for lanes whose profile was removed
        self.outbox: Outbox | None = None
        self.tables: Tables | None = None  # of the application's databases
        # Cancels an event that another process of the application is to send later.
        self.cancel_elsewhere: Callable[[str], Awaitable[bool]] = _nowhere
        self.scheduler: Scheduler | None = None  # of the outbox, once it has held an event that is sent later
        self.admission = Admission((), report, self.deliver_due)
        self.stop_grace = STOP_GRACE  # seconds that a stop gives a lane whose destination is down
        self.deadlines = DeadlineTimer()  # of puts that wait for their receipts
        self._due: list[Callable[[], None]] = []  # deliveries that need not wait, one for each lane
        self._due_scheduled = False  # whether they are scheduled
        self._event_bytes = 1  # of the events that were admitted last, on average
        self._changed = CrossLoopCondition()  # woken when the state changes
        self._start_error: BaseException | None = None
        self._failed_starts = 0
        self._error_raised = False  # whether a join has raised the start error
        self._finishing: asyncio.Task[Account] | None = None

    # ---- life cycle

    def refusal(self, profile: str) -> PutError | LifecycleError:
        """Return the error for a put, or a wait, while the bus takes no events."""
        if self.forked:
            return LifecycleError(
                "this process was forked from one that runs a bus: the loop, the connections and the outbox belong to"
                " the parent. Create a hub of its own in the child, or start children with the method spawn"
            )
        return BusStopped(
            f"the bus is stopped and takes no events (profile {profile!r}); put before stop, or start it again"
        )

    def require_not_running(self) -> None:
        """Raise LifecycleError if a listener runs already."""
        self.require_not_forked()
        if self.state in ("running", "stopping"):
            raise LifecycleError(
                f"start was called while the bus is {self.state}; a hub has one listener: await stop() before start()"
            )

    def require_running(self, what: str) -> None:
        """Raise LifecycleError unless the bus runs in this event loop."""
        self.require_not_forked()
        if self.state != "running" or self.loop is not asyncio.get_running_loop():
            raise LifecycleError(f"{what} needs the bus, running in the same event loop: await hub.evbus.init.join()")

    def require_not_forked(self) -> None:
        """Raise LifecycleError in a process that was forked from the one that runs the bus."""
        if self.forked:
            raise self.refusal("")

    async def run(self, entries: Sequence[Entry], outbox: Outbox | None = None) -> None:
        """Run the listener until `stop` is called; cancelling it stops the bus without draining.

        `outbox` is open, and is closed at the end.
        """
        self.require_not_running()
        logs.protect()
        self.outbox = outbox
        admission = LoggedAdmission if event_log.is_on() else Admission
        self.admission = admission(entries, self.report, self.deliver_due, outbox)
        self.loop, self.deadlines = asyncio.get_running_loop(), DeadlineTimer()
        self.workers = {}
        self._finishing = None
        for lane in dict.fromkeys(entry.lane for entry in entries):
            self.open(lane)
        self._become("running")
        self._send_scheduled()
        try:
            while self.state == "running":
                if not self.intake.items:
                    await self.intake.wait_filled()
                try:
                    self.admit_queued()
                except Exception:
                    log.exception("an event could not be admitted; the bus goes on")
                await asyncio.sleep(0)
            while self.state == "stopping":
                await self._changed.wait(lambda: self.state == "stopping")
        finally:
            if self.state == "running":
                await self._finish(0.0)

    def _measure(self, event: Event) -> int:
        """Return the bytes of an event's body; other threads than the listener's use no serializer."""
        try:
            in_loop = asyncio.get_running_loop() is self.loop
        except RuntimeError:
            in_loop = False
        return self.admission.measure(event) if in_loop else size_of(event.body)

    def open(self, lane: Lane) -> None:
        """Open a lane and start its worker."""
        lane.open(self.outbox, self.admission.forward)
        self.workers[lane] = Worker(lane, self._due)
        self.workers[lane].start()

    def attach_outbox(self, outbox: Outbox) -> None:
        """Use an outbox from now on, because a profile was added that needs one."""
        self.outbox = self.admission.commits.outbox = outbox
        for lane in self.workers:
            if lane.state != "closed":
                lane.open(outbox, self.admission.forward)
        self._send_scheduled()

    def begin_scheduler(self) -> Scheduler:
        """Return what sends the scheduled events of the outbox; it runs from the first use on."""
        if self.scheduler is None:
            from evbus_like.engine.sending.scheduler import Scheduler  # few applications need it

            assert self.outbox is not None
            self.scheduler = Scheduler(self.outbox, lambda: self.admission, self.replayed)
        return self.scheduler

    def _send_scheduled(self) -> None:
        """Begin to send the scheduled events that an earlier process has left, if there are any."""
        if self.outbox is not None and self.outbox.counts().scheduled:
            self.begin_scheduler()

    def set_routes(self, entries: Sequence[Entry]) -> None:
        """Use other profiles from now on; their lanes are open."""
        self.admission.set_routes(entries)
        self.deliver_due()

    def replayed(self, stored: Sequence[tuple[int, Event, str]]) -> None:
        """Send events of the outbox that were dead letters, or scheduled: seqs, events and names of destinations."""
        lanes = {lane.name: lane for lane in self.workers}
        for seq, event, name in stored:
            if (lane := lanes.get(name)) is not None:
                event.seq = seq
                lane.replayed(event)
        self.deliver_due()

    def start_failed(self, error: BaseException) -> None:
        """Let waiting `join` calls, or the next one, raise the error of a failed start; queued events stay queued."""
        self._failed_starts += 1
        self._start_error, self._error_raised = error, False
        self._changed.wake_all()

    async def join(self, timeout: float | None = None) -> None:
        """Wait until the listener runs; raises what `start` raised, or TimeoutError."""
        self.require_not_forked()
        seen = self._failed_starts - (self._start_error is not None and not self._error_raised)
        await asyncio.sleep(0)  # let a start task that was just created begin
        async with asyncio.timeout(timeout):
            while self.state != "running":
                if self._failed_starts != seen and self._start_error is not None:
                    self._error_raised = True
                    raise self._start_error
                await self._changed.wait(lambda: self.state != "running" and self._failed_starts == seen)

    async def stop(self, timeout: float) -> Account:
        """Refuse new events, deliver the queued ones, close all connections, and return the account.

        It takes about `timeout` seconds at most; a lane whose destination is down has only `stop_grace`. Events not
        delivered by then are the account's `remaining`.
        """
        self.require_not_forked()
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
        if self.scheduler is not None:
            await self.scheduler.close()
            self.scheduler = None
        self.deliver_due()
        await self._drain(deadline - min(2.0, timeout / 4))
        await asyncio.gather(
            *(self._close_lane(worker, max(0.5, deadline - now())) for worker in self.workers.values())
        )
        for event in self.intake.items:
            if event.receipt is not None:
                event.receipt.withdraw(self.refusal(event.profile))
        await self._close_outbox(max(1.0, deadline - now()))
        account = self.account()
        self._become("stopped")
        undelivered = account.accepted - account.delivered + account.rejected + account.queued
        log.log(logging.WARNING if undelivered else logging.INFO, "the bus is stopped: %s", account)
        return account

    async def _drain(self, deadline: float) -> None:
        """Wait until the lanes are empty, also those that get the dead letters of others meanwhile."""
        now, waiting = asyncio.get_running_loop().time, list(self.workers.values())
        emptied: set[Worker] = set()
        while waiting and now() < deadline:
            drains = {asyncio.create_task(worker.drain(self.stop_grace)): worker for worker in waiting}
            done, late = await asyncio.wait(drains, timeout=deadline - now())
            for task in late:
                task.cancel()
            emptied.difference_update(waiting)
            emptied.update(drains[task] for task in done if task.exception() is None and task.result())
            waiting = [worker for worker in emptied if not worker.is_done]

    async def _close_lane(self, worker: Worker, timeout: float) -> None:
        down = worker.lane.state in ("starting", "retrying", "refused")
        await worker.close(min(timeout, max(0.5, self.stop_grace)) if down else timeout)

    async def _close_outbox(self, timeout: float) -> None:
        if self.outbox is not None:
            try:
                await self.outbox.close(timeout)
            except PutError as error:
                log.error("%s", error)
        for _ in range(ANSWER_MS):  # every event has an answer now, which the loop still has to process
            if not self.admission.commits:
                break
            await asyncio.sleep(0.001)

    def _become(self, state: State) -> None:
        self.state = state
        self.closed = state in ("stopping", "stopped")
        (_running.discard if state == "stopped" else _running.add)(self)
        self._start_error = None
        self._changed.wake_all()

    # ---- events

    def admit_queued(self) -> None:
        """Admit events of the intake queue, as many as is fair to the other tasks of the loop."""
        events = size = 0
        while self.intake.items and events < SHARE_EVENTS and size < SHARE_BYTES:
            chunk = self.intake.take(max(1, min(CHUNK, (SHARE_BYTES - size) // self._event_bytes)))
            admitted = self.admission.admit_batch(chunk)
            self.intake.task_done(len(chunk))
            self._event_bytes = admitted // max(1, len(chunk)) + 1
            size += admitted
            events += CHUNK
        self.deliver_due()

    def admit(self, event: Event) -> tuple[str, ...]:
        """Admit one event and return the names of its lanes; raises PutError, and then no lane has it."""
        if self.state == "stopped":
            raise self.refusal(event.profile)
        names = self.admission.admit(event)
        if self._due and not self._due_scheduled and self.loop is not None:
            self._due_scheduled = True
            self.loop.call_soon(self.deliver_due)
        return names

    def deliver_due(self) -> None:
        """Run the deliveries that need not wait."""
        self._due_scheduled = False
        due = self._due[:]
        self._due.clear()
        for deliver_now in due:
            deliver_now()

    def status(self) -> dict[str, Any]:
        """Return the current state and counts as plain data."""
        box, outbox = self.outbox, None
        if box is not None:
            outbox = {**asdict(box.counts()), "commits": box.usage.commits.as_dict()}
        return {
            "state": self.state,
            "queued": self.intake.qsize(),
            "unmatched": self.admission.unmatched,
            "rejected": self.admission.rejected,
            "outbox": outbox,
            "destinations": {lane.name: lane.status() for lane in self.workers},
        }

    def account(self) -> Account:
        """Return the current account."""
        return Account(
            put=self.admission.taken + self.intake.qsize(),
            unmatched=self.admission.unmatched,
            rejected=self.admission.rejected,
            queued=self.intake.qsize(),
            lanes=[lane.account() for lane in self.workers],
        )

    @property
    def lanes(self) -> Sequence[Lane]:
        """The lanes of the current, or the last, listener; also those whose profile was removed."""
        return tuple(self.workers)


_running: WeakSet[Bus] = WeakSet()


def _close_in_child() -> None:
    """Close running buses in a forked child, because their loop, connections and outbox belong to the parent."""
    for loop in {bus.loop for bus in _running}:
        detach(loop)
    for bus in list(_running):
        bus.forked = bus.closed = True


os.register_at_fork(after_in_child=_close_in_child)


async def _nowhere(event_id: str) -> bool:
    return False

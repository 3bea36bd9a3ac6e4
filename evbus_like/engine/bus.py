"""The bus: takes events in, routes and serializes them, and owns the lanes that carry them out."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from time import time
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakSet

from evbus_like.engine.account import Account
from evbus_like.engine.commits import Commits, Parcel
from evbus_like.engine.errors import BadEvent, BusStopped, LifecycleError, OutboxFull, PutError
from evbus_like.engine.event import Event
from evbus_like.engine.failure import Failure, Report
from evbus_like.engine.lane import Lane
from evbus_like.engine.queue import Queue
from evbus_like.engine.receipt import Receipt
from evbus_like.engine.router import Entry, Route, Router
from evbus_like.engine.waiters import Waiters
from evbus_like.engine.watch import Watch
from evbus_like.engine.worker import Worker

if TYPE_CHECKING:
    from evbus_like.engine.outbox import Outbox

log = logging.getLogger("evbus_like.bus")

State = Literal["new", "running", "stopping", "stopped"]
PUMP = 100  # events routed and serialized in one go
TURN_EVENTS, TURN_BYTES = 1000, 512 * 1024  # what the listener does before the other tasks of the loop get their turn
GRACE = 10.0  # seconds beyond a stop's own deadline that another loop's answer is waited for
DEAD_HEADER = "evbus-dead-destination"
NAMES_REMEMBERED = 1000  # event profiles that matched nothing: each is logged once


class Bus:
    """Holds the intake queue, the router and the workers; `run` is the listener.

    Putting is in `put.py`. All but the intake queue is touched in the listener's loop only.
    """

    def __init__(self, report: Report, max_events: int = 100_000) -> None:
        self.report = report
        self.intake: Queue[Event] = Queue(max_events, "the bus's intake queue")
        self.router = Router(())
        self.state: State = "new"
        self.closed = False  # whether puts are refused
        self.forked = False  # whether this is the child of the process that runs the bus
        self.loop: asyncio.AbstractEventLoop | None = None
        self.workers: dict[Lane, Worker] = {}  # also of lanes whose profile was removed since the start
        self.outbox: Outbox | None = None
        self.commits = Commits(None, self._deliver_due)
        self.watch = Watch()  # over those who wait for receipts
        self._due: list[Callable[[], None]] = []  # what delivers events that need not wait, lane by lane
        self._due_soon = False  # whether the loop was asked to do so
        self._taken = self._unmatched = self._rejected = 0
        self._unmatched_names: set[str] = set()
        self._changed = Waiters()  # of the state
        self._start_error: BaseException | None = None
        self._failed_starts = 0
        self._told = False  # whether a join has raised the error already
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

    def must_not_run(self) -> None:
        """Raise LifecycleError where a listener runs already."""
        self._must_own()
        if self.state in ("running", "stopping"):
            raise LifecycleError(
                f"start was called while the bus is {self.state}; a hub has one listener: await stop() before start()"
            )

    def _must_own(self) -> None:
        if self.forked:
            raise self.refusal("")

    async def run(self, entries: Sequence[Entry], outbox: Outbox | None = None) -> None:
        """Be the listener until `stop` is called; cancelling it stops the bus without draining.

        `outbox` is open, and is closed in the end.
        """
        self.must_not_run()
        self.outbox = outbox
        self.commits = Commits(outbox, self._deliver_due)
        self.loop = asyncio.get_running_loop()
        self.router = Router(entries)
        self.workers = {}
        self._taken = self._unmatched = self._rejected = 0
        self._finishing = None
        for lane in dict.fromkeys(entry.lane for entry in entries):
            self.open(lane)
        self._become("running")
        try:
            while self.state == "running":
                if not self.intake.items:
                    await self.intake.wait_filled()
                self.take_turn()
                await asyncio.sleep(0)
            while self.state == "stopping":
                await self._changed.wait(lambda: self.state == "stopping")
        finally:
            if self.state == "running":
                await self._finish(0.0)

    def open(self, lane: Lane) -> None:
        """Open a lane, and let a worker empty it."""
        lane.open(self.outbox, self.forward)
        self.workers[lane] = Worker(lane, self._due)
        self.workers[lane].start()

    def adopt(self, outbox: Outbox) -> None:
        """Use an outbox from here on, for the first profile that needs one came while the bus ran."""
        self.outbox = self.commits.outbox = outbox
        for lane in self.workers:
            if lane.state != "closed":
                lane.open(outbox, self.forward)
            if lane.behind:
                lane.wake()

    def lead(self, entries: Sequence[Entry]) -> None:
        """Route by other profiles from here on; their lanes are open."""
        self.router = Router(entries)
        self._unmatched_names.clear()
        self._deliver_due()

    def failed_to_start(self, error: BaseException) -> None:
        """Tell those who wait in `join`, or the next who comes, that this start failed; what was put stays queued."""
        self._failed_starts += 1
        self._start_error, self._told = error, False
        self._changed.wake_all()

    async def join(self, timeout: float | None = None) -> None:
        """Wait until the listener runs; raises what `start` raised, or TimeoutError."""
        self._must_own()
        seen = self._failed_starts - (self._start_error is not None and not self._told)
        await asyncio.sleep(0)  # a start that was only just made a task begins first
        async with asyncio.timeout(timeout):
            while self.state != "running":
                if self._failed_starts != seen and self._start_error is not None:
                    self._told = True
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
            return await self._stop_elsewhere(self.loop, timeout)
        if self._finishing is None and self.state == "running":
            self._become("stopping")
            self._finishing = asyncio.create_task(self._finish(timeout), name="evbus_like stop")
        if self._finishing is None:
            return self.account()
        return await asyncio.shield(self._finishing)

    async def _stop_elsewhere(self, loop: asyncio.AbstractEventLoop, timeout: float) -> Account:
        """Stop the bus for a caller in another loop; raises LifecycleError where the listener's loop is blocked."""
        stopping = asyncio.run_coroutine_threadsafe(self.stop(timeout), loop)
        try:
            async with asyncio.timeout(timeout + GRACE):
                return await asyncio.wrap_future(stopping)
        except TimeoutError:
            raise LifecycleError(
                f"the listener's event loop did not answer for {timeout + GRACE:g} s; is it blocked?"
            ) from None

    async def _finish(self, timeout: float) -> Account:
        now = asyncio.get_running_loop().time
        deadline = now() + timeout
        self._become("stopping")
        self.intake.wake()
        while (self.intake.items or self.commits) and now() < deadline:
            self.take_turn()
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
        self.watch.close()
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

    def _become(self, state: State) -> None:
        self.state = state
        self.closed = state in ("stopping", "stopped")
        (_running.discard if state == "stopped" else _running.add)(self)
        self._start_error = None
        self._changed.wake_all()

    # ---- the road of an event

    def take_turn(self) -> None:
        """Route and serialize what the intake queue holds, as much as is fair to the other tasks of the loop."""
        events = size = 0
        while self.intake.items and events < TURN_EVENTS and size < TURN_BYTES:
            size += self.pump(PUMP)
            events += PUMP
        self._deliver_due()

    def _deliver_due(self) -> None:
        """Deliver what need not wait."""
        self._due_soon = False
        due = self._due[:]
        self._due.clear()
        for deliver_now in due:
            deliver_now()

    def pump(self, most: int) -> int:
        """Route and serialize the oldest events of the intake queue, and give the bytes that they came to.

        Failures are reported, never raised. Runs of events for the same lanes are handed over together: what is done
        once a run costs an event nothing.
        """
        events = self.intake.take(most)
        routes, commits = self.router.cache, self.commits
        now = time()
        route: Route | None = None
        run: list[Event] = []
        size = total = 0
        for event in events:
            found = routes.get(event.profile)
            if found is not route or found is None or not found.quick or event.receipt is not None or commits:
                total += self._hand_over(route, run, size)
                run, size = [], 0
                route = found
                if found is None or not found.quick or event.receipt is not None or commits.concerns(found.lanes):
                    route = None
                    self._admit_quietly(event)
                    continue
            try:
                body = found.sole.pack(event.body, found.lanes)  # type: ignore[union-attr]
            except PutError as error:
                self._taken += 1
                self._rejected += 1
                self.report(Failure(error, event))
                continue
            event.body = body
            event.content_type = found.sole.content_type  # type: ignore[union-attr]
            event.timestamp = now
            size += len(body)
            run.append(event)
        total += self._hand_over(route, run, size)
        self.intake.task_done(len(events))
        return total

    def _hand_over(self, route: Route | None, run: list[Event], size: int) -> int:
        """Give a run of serialized events to the lanes of one route, and give its bytes."""
        if route is not None and run:
            self._taken += len(run)
            for lane in route.lanes:
                lane.offer(run, size)
        return size

    def _admit_quietly(self, event: Event) -> None:
        """Admit one event of the intake queue; whoever waits for it, or else the reporter, hears of a failure."""
        receipt = event.receipt
        if receipt is not None and receipt.withdrawn:
            return
        try:
            self.admit(event)
        except PutError as error:
            if isinstance(error, OutboxFull):
                self._taken += 1
                self._rejected += 1
            if receipt is not None:
                receipt.refuse(error)
            else:
                self.report(Failure(error, event))

    def route(self, profile: str) -> Route:
        """Give the route of an event profile; an event whose route cannot be told is rejected: raises BadEvent."""
        try:
            return self.router.cache.get(profile) or self.router.route(profile)
        except PutError:
            self._taken += 1
            self._rejected += 1
            raise

    def admit(self, event: Event) -> tuple[str, ...]:
        """Route and serialize one event and hand it to its lanes; raises PutError, and then no lane has it.

        Where it must be stored first, its receipt says when the lanes have it. OutboxFull leaves the event as it was.
        """
        if self.state == "stopped":
            raise self.refusal(event.profile)
        route = self.route(event.profile)
        if not route.quick or self.commits.concerns(route.lanes):
            self._admit_slowly(event, route)
        else:
            assert route.sole is not None
            self._taken += 1
            try:
                event.body = route.sole.pack(event.body, route.lanes)
            except PutError:
                self._rejected += 1
                raise
            event.content_type = route.sole.content_type
            event.timestamp = time()
            if event.receipt is not None:
                event.receipt.accept(route.names)
                event.receipt = event.receipt.followed()
            for lane in route.lanes:
                lane.offer((event,), len(event.body))
        if self._due and not self._due_soon and self.loop is not None:
            self._due_soon = True
            self.loop.call_soon(self._deliver_due)
        return route.names

    def _admit_slowly(self, event: Event, route: Route) -> None:
        """Admit an event that has several forms, or no destination, or must be stored, or wait for one that is."""
        raw = event.body
        try:
            bodies = [serializer.pack(raw, lanes) for serializer, lanes in route.groups]
        except PutError:
            self._taken += 1
            self._rejected += 1
            raise
        event.timestamp = time()
        receipt = event.receipt
        event.receipt = receipt and receipt.followed()
        parcels = []
        for index, (serializer, lanes) in enumerate(route.groups):
            parcel = event.twin() if index else event
            parcel.body = bodies[index]
            parcel.content_type = serializer.content_type
            parcels.append(Parcel(parcel, lanes))
        if route.plain and not self.commits.concerns(route.lanes):
            self._accept(event, receipt, route, parcels)
        else:
            try:
                self.commits.add(parcels, partial(self._stored, event, receipt, route))
            except OutboxFull:
                event.body, event.receipt = raw, receipt  # whoever waits for room tries again
                raise
            except PutError:
                self._taken += 1
                self._rejected += 1
                raise
            self._taken += 1

    def _accept(self, event: Event, receipt: Receipt | None, route: Route, parcels: Sequence[Parcel]) -> None:
        self._taken += 1
        if receipt is not None:
            receipt.accept(route.names)
        for parcel in parcels:
            for lane in parcel.lanes:
                lane.offer((parcel.event,), len(parcel.event.body))
        if not parcels:
            self._no_match(event)

    async def forward(self, event: Event, profile: str, why: Mapping[str, Any]) -> bool:
        """Hand a dead letter, its body untouched, to the lanes of another profile; False where no profile matches.

        Its headers say why. A dead letter that dies again is not forwarded again.
        """
        try:
            lanes = self.router.route(profile).lanes
        except BadEvent as error:
            log.error("a dead letter stays where it is: %s", error)
            return False
        if not lanes or DEAD_HEADER in (event.headers or {}):
            return False
        letter = event.twin()
        letter.profile, letter.receipt, letter.seq = profile, None, 0
        letter.headers = {**(event.headers or {}), **why}
        accepted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(error: PutError | None) -> None:
            if error is not None and not accepted.done():
                accepted.set_exception(error)
            elif not accepted.done():
                accepted.set_result(None)

        self.commits.add([Parcel(letter, lanes)], done)
        await accepted
        self._deliver_due()
        return True

    def _stored(self, event: Event, receipt: Receipt | None, route: Route, error: PutError | None) -> None:
        """Say that the lanes have an event, or why they have not."""
        if error is None:
            if receipt is not None:
                receipt.accept(route.names)
            return
        self._rejected += 1
        if receipt is not None and not receipt.withdrawn:
            receipt.refuse(error)
        else:
            self.report(Failure(error, event))

    def _no_match(self, event: Event) -> None:
        self._unmatched += 1
        if event.profile not in self._unmatched_names and not event.quiet:
            if len(self._unmatched_names) < NAMES_REMEMBERED:
                self._unmatched_names.add(event.profile)
            names = ", ".join(entry.lane.name for entry in self.router.entries[:10]) or "none"
            log.warning(
                "no profile matches %r, so its events go nowhere (logged once); profiles: %s."
                " Add a profile of that name, or a pattern that matches it, to the credentials",
                event.profile,
                names,
            )

    def status(self) -> dict[str, Any]:
        """Give what there is to know now, as plain data."""
        outbox = self.outbox.counts() if self.outbox is not None else None
        return {
            "state": self.state,
            "queued": self.intake.qsize(),
            "unmatched": self._unmatched,
            "rejected": self._rejected,
            "outbox": None if outbox is None else asdict(outbox),
            "destinations": {lane.name: lane.status() for lane in self.workers},
        }

    def account(self) -> Account:
        """Give the account as it stands now."""
        return Account(
            put=self._taken + self.intake.qsize(),
            unmatched=self._unmatched,
            rejected=self._rejected,
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

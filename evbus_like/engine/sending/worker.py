"""A worker: the task that sends one lane's events; it can be paused, drained, given a new destination, and closed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import cached_property
from time import monotonic

from evbus_like.engine.errors import PutError, TransientError
from evbus_like.engine.event import Event
from evbus_like.engine.foreign import raise_if_cancelled, text_of
from evbus_like.engine.rate import parse
from evbus_like.engine.sending.lane import Lane
from evbus_like.engine.sending.sender import Sender

log = logging.getLogger("evbus_like.lane")

FIRST_CONNECT = 5.0  # seconds from its start that a lane has to connect for the first time, also during a stop
FAILED_WAIT = 1.0  # seconds before a worker begins again that ended by an error of its own


class Worker:
    """Has a lane's events sent until the bus stops.

    `due` collects functions that the bus calls in the same iteration of the loop: the deliveries of lanes whose
    destination can deliver without waiting.
    """

    def __init__(self, lane: Lane, due: list[Callable[[], None]]) -> None:
        self.lane = lane
        self._due = due
        self._draining = False
        self._task: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._reconnected: asyncio.Future[None] | None = None  # set while the lane has a new destination
        self._begin()

    def _begin(self) -> None:
        """Use the lane's current destination and options, and forget what was known of the previous ones."""
        lane = self.lane
        self._begun = monotonic()
        self._options, self._destination = lane.options, lane.destination
        self.__dict__.pop("_sender", None)
        needs_no_connection = lane.destination.publish_now is not None
        self._immediate = immediate = needs_no_connection and parse(self._options.rate) is None
        if not immediate:
            lane.destination.on_blocked = self._sender.set_blocked
            lane.destination.on_asks = lane.ask_again
        state = "open" if needs_no_connection else "starting"
        lane.attach_worker(state, self._schedule if immediate else lane.filled.set)
        if lane.paused:
            lane.set_state(*self._paused_state())

    @cached_property
    def _sender(self) -> Sender:
        """Sends to the current destination.

        Created on first use: a bus may have 10,000 lanes, and the garbage collector visits all their objects.
        """
        return Sender(self.lane, self._destination, self._options)

    # ---- without waiting

    def _schedule(self) -> None:
        self._due.append(self.deliver_now)

    def deliver_now(self) -> None:
        """Deliver what the destination takes without waiting; a batch of ten then costs 3 µs and no task switch."""
        lane = self.lane
        if self._closing is not None or lane.paused:  # what is left is spilled, or is for the next start
            return
        publish_now = self._destination.publish_now
        while lane.queue and self._task is None:
            if lane.may_expire and self._sender.remove_expired():
                continue
            batch = lane.head(self._options.batch_events)
            try:
                done = publish_now(batch)  # type: ignore[misc]
            except KeyboardInterrupt:
                raise
            except BaseException:
                done = 0  # `publish` raises it again, in the task, which handles it
            if type(done) is not int or not 0 <= done <= len(batch):  # against the contract
                done = 0
            lane.deliver(done)
            if done < len(batch):
                self._start_task()
        if lane.behind and self._task is None:
            self._start_task()

    def pause(self, why: str) -> None:
        """Send nothing, for this reason, or go on, without one; the batch in flight is finished first."""
        lane = self.lane
        if lane.paused == why or lane.state == "closed":
            return
        was, lane.paused = lane.paused, why
        if not was:
            log.warning("%s is %s", lane.name, why)
        elif not why:
            log.warning("%s is resumed, %d events wait", lane.name, len(lane.queue) + lane.behind)
        lane.set_state(*self._paused_state())
        self._interrupt()
        if self._immediate and not why:
            self.deliver_now()

    def _paused_state(self) -> tuple[str, TransientError | None]:
        if self.lane.paused:
            return "paused", TransientError(self.lane.paused)
        return "open" if self._sender.connection.is_open else "starting", None

    async def _wait_while_paused(self) -> None:
        while self.lane.paused and not self._draining and self._reconnected is None:
            self.lane.set_state(*self._paused_state())  # a batch that was in flight has set another one
            self.lane.filled.clear()
            await self.lane.filled.wait()

    # ---- life cycle

    def start(self) -> None:
        """Start sending; the worker connects by itself, and reconnects as often as needed.

        If the destination can deliver without waiting, `deliver_now` does, and the task only handles the rest.
        """
        if not self._immediate or self.lane.behind:
            self._start_task()

    def _start_task(self) -> None:
        self._task = asyncio.create_task(self._run(), name=f"evbus_like lane {self.lane.name}")

    @property
    def is_done(self) -> bool:
        """Whether no event waits for the destination."""
        return not (self.lane.queue or self.lane.behind)

    async def drain(self, grace: float | None = None) -> bool:
        """Return when the lane is empty, or when a destination that refuses has refused once more; gives which.

        A destination that is down when this begins has `grace` seconds to work again.
        """
        self._draining = True
        self._interrupt()
        if self._task is None or self.is_done or self.lane.paused:
            return self.is_done
        if self._task.done():  # it ended when the lane was empty, before a dead letter of another lane came
            self._start_task()
        if grace is not None and self.lane.state != "open":
            if self.lane.state == "starting":  # it has not failed yet
                grace = max(grace, min(FIRST_CONNECT, FIRST_CONNECT * grace) - (monotonic() - self._begun))
            await asyncio.wait([self._task], timeout=grace)
            if self.lane.state != "open":
                return self.is_done
        await asyncio.wait([self._task])
        return self.is_done

    def reconnect(self) -> asyncio.Future[None]:
        """Continue with the lane's new destination and options; done when the old connection is closed.

        A batch in flight is finished first, also if the destination is blocked. Attempts are counted from 1 again.
        """
        self._sender.leave()
        if self._reconnected is None:
            self._reconnected = asyncio.get_running_loop().create_future()
        self._interrupt()
        if self._task is None:
            self._start_task()
        return self._reconnected

    def _interrupt(self) -> None:
        """End the wait for an event, or for the next attempt."""
        if self._task is not None:
            self._sender.wake()
        self.lane.filled.set()

    async def _reconnect(self) -> None:
        reconnected, self._reconnected = self._reconnected, None
        try:
            await self._sender.end()
            self._destination.on_blocked = lambda reason: None
            self._begin()
        finally:  # nobody may wait for a task that was cancelled
            if reconnected is not None and not reconnected.done():
                reconnected.set_result(None)

    async def close(self, timeout: float) -> None:
        """End the task and close the connection, whatever the lane still holds; a second call waits for the first."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._end(timeout), name=f"evbus_like close {self.lane.name}")
        await asyncio.shield(self._closing)

    async def _end(self, timeout: float) -> None:
        if self._reconnected is not None:
            self._reconnected.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=timeout)
        await self._spill(timeout)
        await self._sender.connection.close(timeout)
        self.lane.close()

    async def _spill(self, timeout: float) -> None:
        """Store the events that are only in memory, if the profile says `when_full: spill`."""
        lane = self.lane
        if lane.options.when_full != "spill" or lane.outbox is None:
            return
        left: list[Event] = []
        try:
            async with asyncio.timeout(timeout):
                while (left := lane.unstored()) or lane.uncommitted:  # a running commit may add more
                    if left:
                        lane.stored(left, await lane.outbox.append([(event, (lane.name,)) for event in left]))
                    else:
                        await asyncio.sleep(0.001)
        except (PutError, TimeoutError) as error:
            lost = len(left) or lane.uncommitted
            log.error("%s: %d events could not be spilled to the outbox and are lost: %s", lane.name, lost, error)

    # ---- the task

    async def _run(self) -> None:
        task = asyncio.current_task()
        while True:
            try:
                await self._send_all()
            except BaseException as error:
                raise_if_cancelled(task, error)
                self._failed_itself(error)
                await asyncio.sleep(FAILED_WAIT)
            else:
                break
        if self._immediate:
            self._task = None

    def _failed_itself(self, error: BaseException) -> None:
        """Record an error that is no answer of the destination; the events are still in the lane."""
        log.error("%s: sending failed, and begins again: %s", self.lane.name, text_of(error), exc_info=error)

    async def _send_all(self) -> None:
        """Send until the bus stops, or a lane that needs no connection is empty."""
        lane = self.lane
        while self._reconnected is not None or not (self._draining and self._may_end()):
            if self._reconnected is not None:
                await self._reconnect()
            elif lane.may_expire and lane.queue and self._sender.remove_expired():
                pass  # there may be nothing left to send
            elif lane.paused:
                await self._wait_while_paused()
            elif await self._sender.step():
                pass  # what is next depends on what came of it
            elif self._immediate:
                break
            else:
                lane.filled.clear()
                await lane.filled.wait()

    def _may_end(self) -> bool:
        """Whether a stop need not wait: the lane is empty or paused, or was refused once more."""
        return self.is_done or bool(self.lane.paused) or self._sender.is_refused_again

"""A worker: the task that sends one lane's events, and what it does when sending fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import cached_property
from itertools import islice
from time import monotonic, perf_counter

from evbus_like.engine.errors import (
    Blocked,
    DeliveryError,
    DestinationRefused,
    PoisonEvent,
    PutError,
    Stalled,
    TransientError,
    UnknownOutcome,
)
from evbus_like.engine.event import Event
from evbus_like.engine.failure import UnknownKindError, classify
from evbus_like.engine.foreign import ends, tamed, text_of
from evbus_like.engine.rate import parse
from evbus_like.engine.sending.attempts import Attempts
from evbus_like.engine.sending.block import Block
from evbus_like.engine.sending.dead_letters import store_dead_letter
from evbus_like.engine.sending.destination import Outcomes
from evbus_like.engine.sending.health import REMIND, Health
from evbus_like.engine.sending.lane import Lane
from evbus_like.engine.sending.pace import Pace
from evbus_like.engine.sending.suspects import Ended

log = logging.getLogger("evbus_like.lane")

FIRST_CONNECT = 5.0  # seconds from its start that a lane has to connect for the first time, also during a stop
PASS_EVERY = 0.05  # seconds between two looks for events behind those that are refused, or stalled
STALL_NOTED = 2.0  # seconds after which a stalled part is trouble, and not just slow
PASS_COST = 10e-6  # seconds more for each of these: looking through 10,000 takes about 20 ms
SWEEP = 1.0  # seconds, at least, between two looks for expired events in the whole lane, while nothing is delivered
FAILED_WAIT = 1.0  # seconds before a worker begins again that ended by an error of its own
CLOSE_TIMEOUT = 5.0  # seconds that a connection may take to close before it is abandoned


class Worker:
    """Sends a lane's events in order, one batch at a time; each is retried until it is settled.

    `due` collects functions that the bus calls in the same iteration of the loop: the deliveries of lanes whose
    destination can deliver without waiting.
    """

    def __init__(self, lane: Lane, due: list[Callable[[], None]]) -> None:
        self.lane = lane
        self._due = due
        self._draining = False
        self._task: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._swept = 0.0  # when the whole lane was looked through for expired events
        self._reconnected: asyncio.Future[None] | None = None  # set while the lane has a new destination
        self._begin()

    def _begin(self) -> None:
        """Use the lane's current destination and options, and forget what was known of the previous ones."""
        lane = self.lane
        self._begun = monotonic()
        self._options, self._destination = lane.options, lane.destination
        for name in ("_health", "_block", "_attempts"):
            self.__dict__.pop(name, None)
        rate, needs_no_connection = parse(self._options.rate), lane.destination.publish_now is not None
        self._pace = None if rate is None else Pace(rate, lane.slot)
        self._immediate = immediate = needs_no_connection and rate is None
        if not immediate:
            lane.destination.on_blocked = self.set_blocked
            lane.destination.on_asks = lane.ask_again
        self._opened = needs_no_connection
        lane.attach_worker("open" if self._opened else "starting", self._schedule if immediate else lane.filled.set)
        if lane.paused:
            lane.set_state(*self._paused_state())

    # Created on first use: a bus may have 10,000 lanes, and the garbage collector visits all their objects.

    @cached_property
    def _retry_now(self) -> asyncio.Event:
        """Ends the wait before the next attempt."""
        return asyncio.Event()

    @cached_property
    def _health(self) -> Health:
        return Health(self.lane)

    @cached_property
    def _attempts(self) -> Attempts:
        return Attempts(self._options)

    @cached_property
    def _block(self) -> Block:
        return Block(self._options.timeout)

    # ---- without waiting

    def _schedule(self) -> None:
        self._due.append(self.deliver_now)

    def deliver_now(self) -> None:
        """Deliver what the destination takes without waiting; a batch of ten then costs 3 µs and no task switch."""
        if self._closing is not None or self.lane.paused:  # what is left is spilled, or is for the next start
            return
        publish_now = self._destination.publish_now
        while self.lane.queue and self._task is None:
            if self.lane.may_expire and self._remove_expired():
                continue
            batch = self.lane.head(self._options.batch_events)
            try:
                done = publish_now(batch)  # type: ignore[misc]
            except KeyboardInterrupt:
                raise
            except BaseException:
                done = 0  # `publish` raises it again, in the task, which handles it
            if type(done) is not int or not 0 <= done <= len(batch):  # against the contract
                done = 0
            self.lane.deliver(done)
            if done < len(batch):
                self._start_task()
        if self.lane.behind and self._task is None:
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
        return "open" if self._opened else "starting", None

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

    def set_blocked(self, reason: str | None) -> None:
        """Record that the destination takes nothing for now, and why; None if it takes events again or disconnected.

        The destination may call it at any time in the lane's event loop, also during a publish.
        """
        if reason is not None and self.lane.state != "closed":
            self._health.record_failure(self._block.begin(reason), [], self._attempts.failed)
        elif reason is None and self._block.error is not None:
            self._block.end()
            if not self.lane.queue:  # otherwise the next confirm shows whether it works
                self._recovered()

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
        self._block.end()
        if self._reconnected is None:
            self._reconnected = asyncio.get_running_loop().create_future()
        self._interrupt()
        if self._task is None:
            self._start_task()
        return self._reconnected

    def _interrupt(self) -> None:
        """End the wait for an event, or for the next attempt."""
        self._retry_now.set()
        self.lane.filled.set()

    async def _reconnect(self) -> None:
        reconnected, self._reconnected = self._reconnected, None
        try:
            await self._close(min(CLOSE_TIMEOUT, self._options.timeout))
            self._destination.on_blocked = lambda reason: None
            self.lane.retried(self._attempts.stalled)  # they may be on their way, and are sent again
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
        await self._close(timeout)
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
                _raise_if_cancelled(task, error)
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
        while self._reconnected is not None or not (self._draining and (self.is_done or self._is_held())):
            if self._reconnected is not None:
                await self._reconnect()
            elif lane.may_expire and lane.queue and self._remove_expired():
                pass  # there may be nothing left to send
            elif lane.paused:
                await self._wait_while_paused()
            elif lane.behind and self._wants_more():
                await self._attempt(self._refill)
            elif not self._opened:
                await self._attempt(self._open)
            elif lane.queue and self._block.error is not None:
                await self._wait_while_blocked(self._block.error)
            elif lane.queue and self._attempts.suspects.wants_other(lane.queue[0]):
                await (self._attempt(self._refill) if len(lane.queue) == 1 and lane.behind else self._try_other())
            elif lane.queue:
                if self._pace is None or self._pace.allowed:
                    await self._attempt(self._publish)
                else:  # before the next batch all that is above is looked at again
                    await self._may_send()
            elif self._immediate:
                break
            else:
                lane.filled.clear()
                await lane.filled.wait()

    def _remove_expired(self) -> bool:
        """Remove what has expired of the next batch, or of a whole lane that delivers nothing; returns whether any."""
        lane, now, most = self.lane, monotonic(), self._options.batch_events
        if lane.state != "open" and now - self._swept > SWEEP:
            self._swept, most = now, len(lane.queue)
        if gone := lane.remove_expired(self._attempts.stalled, most):  # stalled ones may be on their way
            self._attempts.removed(gone)
        return bool(gone)

    def _wants_more(self) -> bool:
        """Whether to read events from the outbox: the queue has too few that could be sent."""
        attempts, count = self._attempts, len(self.lane.queue)
        if attempts.stalled:
            return count - attempts.stalled < self._options.batch_events and not self.lane.full
        return count < self._options.batch_events and not attempts.head

    def _is_held(self) -> bool:
        """Whether a stop need not wait for what is left: the lane is paused, or was refused once more."""
        return bool(self.lane.paused) or (self.lane.state == "refused" and self._attempts.failed > 1)

    async def _attempt(self, step: Callable[[list[Event]], Awaitable[None]]) -> None:
        """Run one step for the batch at the head of the lane.

        Client libraries cancel their callers when a connection dies (aio-pika does after a missed heartbeat), and turn
        our cancellation into errors of their own, so only the task itself knows whether it was cancelled.
        """
        # One event is enough to test a destination that refuses.
        attempts = self._attempts
        most = 1 if self.lane.state == "refused" else attempts.batch_size
        if self._pace is not None and step == self._publish:
            batch = self.lane.head(min(most, self._pace.allowed), attempts.stalled)
            self._pace.spend(len(batch))
        else:
            batch = self.lane.head(most, attempts.stalled)
        self.lane.set_in_flight(len(batch) if step == self._publish else 0)
        task = asyncio.current_task()
        try:
            await step(batch)
        except BaseException as error:
            _raise_if_cancelled(task, error)
            await self._failed(batch, error if isinstance(error, asyncio.CancelledError) else tamed(error))
        finally:
            self.lane.set_in_flight(0)

    async def _may_send(self) -> bool:
        """Wait until the profile's rate lets events be sent; a stop, a pause or a reload ends the wait, with False."""
        pace, lane = self._pace, self.lane
        if pace is None or pace.allowed:
            return True
        if self._reconnected is not None:
            return False
        wanted = min(len(lane.queue), self._options.batch_events)
        waited = await pace.refill(wanted, self._retry_now)
        if waited is None:
            return False
        delay = pace.ask(wanted)
        if waited or delay:
            lane.limited += 1
        if delay:
            await pace.wait(delay, self._retry_now)
        return bool(pace.allowed)

    async def _refill(self, batch: list[Event]) -> None:
        """Read the next events from the outbox."""
        lane, options = self.lane, self._options
        assert lane.outbox is not None
        try:
            async with asyncio.timeout(options.timeout):
                rows = await lane.outbox.page(lane.name, lane.last_seq, 4 * options.batch_events, options.batch_bytes)
        except (PutError, TimeoutError) as error:
            await self._back_off(TransientError(f"the outbox cannot be read: {error}"), [])
        else:
            lane.load(rows)

    async def _open(self, batch: list[Event]) -> None:
        try:
            async with asyncio.timeout(self._options.timeout):
                await self._destination.open()
        except (DeliveryError, asyncio.CancelledError, KeyboardInterrupt, GeneratorExit):
            raise
        except TimeoutError as error:
            raise TransientError(f"no connection within {self._options.timeout:g} s") from error
        except BaseException as error:  # no event is the cause of a connection that fails
            raise classify(tamed(error), sent=False) or TransientError(text_of(tamed(error))) from error
        self._opened = True
        if self.lane.state == "starting" or not batch:
            self._recovered()

    async def _publish(self, batch: list[Event]) -> None:
        try:
            async with self._block.deadline() as deadline:
                begun = perf_counter()
                outcomes = await self._destination.publish(batch)
                self.lane.published(perf_counter() - begun)
        except TimeoutError as error:
            if not deadline.expired():
                raise
            seconds = f"{self._options.timeout:g} s"
            raise UnknownOutcome(f"no answer for a batch of {len(batch)} within its timeout of {seconds}") from error
        if outcomes is None:
            self._attempts.settled(len(batch))
            self.lane.deliver(len(batch), attempts=self._attempts.current)
            self._recovered()
        elif 0 < len(outcomes) <= len(batch):
            await self._settle(batch, outcomes)
        else:
            raise ValueError(f"the plugin gave {len(outcomes)} outcomes for {len(batch)} events")

    async def _try_other(self) -> None:
        """Send a later event out of turn, to see whether the destination takes others than the first one."""
        suspects, lane = self._attempts.suspects, self.lane
        if not await self._may_send():
            return
        index = suspects.next_other(lane.queue)
        while index and lane.may_expire and (gone := lane.remove_expired(index, 1)):
            self._attempts.removed(gone)
            index = suspects.next_other(lane.queue)
        if not index:
            return
        event = lane.queue[index]
        errors = await self._send_from(index, 1)
        if not errors:
            suspects.other_delivered()
            return
        kind = classify(errors[0]) or UnknownKindError(f"{type(errors[0]).__name__}: {errors[0]}")
        if isinstance(kind, Ended):
            suspects.other_ended(event)
        await self._wait_after(kind, [])

    async def _pass_by(self, held: int, seconds: float) -> None:
        """Send the events behind those at the head that are refused for themselves, until it is time to retry them."""
        lane, end, passing = self.lane, monotonic() + seconds, True
        while True:
            if passing and len(lane.queue) > held and not self._block.error:
                if self._pace is not None and (self._retry_now.is_set() or not await self._may_send()):
                    return
                while lane.may_expire and lane.remove_expired(held, self._options.batch_events):
                    pass  # others have taken their places
                errors = await self._send_from(held, self._options.batch_events) if len(lane.queue) > held else []
                held += len(errors)  # poison events have their turn later, too
                passing = all(isinstance(error, (DestinationRefused, PoisonEvent)) for error in errors)
            elif self._retry_now.is_set() or monotonic() >= end:
                return
            else:
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(PASS_EVERY, max(0.0, end - monotonic()))):
                        await self._retry_now.wait()

    async def _send_from(self, at: int, most: int) -> list[Exception]:
        """Send events from a position of the lane; returns the errors of those that were not delivered.

        Only a delivery changes the lane. Whatever else happens to an event, it is sent again in its turn.
        """
        lane = self.lane
        batch = list(islice(lane.queue, at, at + (most if self._pace is None else min(most, self._pace.allowed))))
        if self._pace is not None:
            self._pace.spend(len(batch))
        lane.set_in_flight(at + len(batch))  # `drop_old` must drop none of those before it
        task = asyncio.current_task()
        try:
            async with self._block.deadline():
                outcomes = await self._destination.publish(batch)
        except BaseException as error:
            _raise_if_cancelled(task, error)
            await self._close(min(CLOSE_TIMEOUT, self._options.timeout))
            return [classify(error) or tamed(error)] if isinstance(error, asyncio.CancelledError) else [tamed(error)]
        finally:
            lane.set_in_flight(0)
        outcomes = [None] * len(batch) if outcomes is None else outcomes[: len(batch)]
        lane.deliver_from(at, outcomes)
        return [outcome for outcome in outcomes if isinstance(outcome, Exception)]

    async def _wait_while_blocked(self, trouble: Blocked) -> None:
        self._health.record_failure(trouble, [], self._attempts.failed)
        await self._block.wait(REMIND)

    async def _settle(self, batch: list[Event], outcomes: Outcomes) -> None:
        """Settle a batch event by event; events to retry stay at the head, in order."""
        dead: set[int] = set()
        retried: list[Event] = []
        trouble: DeliveryError | None = None
        ended: Ended | None = None
        refused = stalled = old = 0
        for index, outcome in enumerate(outcomes):
            if isinstance(outcome, BaseException) and self._attempts.exhausted(outcome, index):
                trouble = await store_dead_letter(self.lane, batch[index], outcome, self._attempts)
                if trouble is not None:
                    break
                dead.add(index)
        try:
            for index, outcome in enumerate(outcomes):
                if not isinstance(outcome, BaseException):
                    self.lane.deliver(answer=outcome, attempts=self._attempts.current)
                elif index in dead:
                    self.lane.dead_letter(outcome, self._attempts.current)
                else:
                    retried.append(self.lane.pop_head())
                    kind = classify(outcome) or UnknownKindError(f"{type(outcome).__name__}: {outcome}")
                    ended = ended or (kind if isinstance(kind, Ended) else None)
                    refused += isinstance(kind, DestinationRefused)
                    stalled += isinstance(kind, Stalled)
                    old += index < self._attempts.head
                    keeps = isinstance(trouble, DestinationRefused) or (trouble and isinstance(kind, Stalled))
                    trouble = trouble if keeps else kind
        finally:  # whatever fails here, they stay
            self.lane.put_back(retried)
        self._attempts.settled(len(outcomes) - len(retried))
        if ended is not None:
            await self._ended(retried, ended)
        elif trouble is None:
            self._recovered()
        else:
            if not old:
                self._attempts.reset()  # these have not failed before
            if retried and stalled == len(retried):
                await self._go_on_beside(trouble, retried, old)
            else:
                await self._back_off(trouble, retried, refused if refused == len(retried) else 0, old)

    async def _failed(self, batch: list[Event], error: BaseException) -> None:
        """Handle a step that failed as a whole."""
        kind = classify(error)
        one_is_to_blame = kind is None or isinstance(kind, PoisonEvent)
        if isinstance(kind, Ended) and batch and self._opened:
            await self._close(min(CLOSE_TIMEOUT, self._options.timeout))
            return await self._ended(batch, kind)
        if one_is_to_blame and len(batch) > 1:
            self.lane.retried(len(batch))
            self._attempts.poisoned(len(batch))
            return None
        exhausted = bool(batch) and self._attempts.exhausted(error)
        for event in batch if exhausted else ():
            trouble = await store_dead_letter(self.lane, event, kind or error, self._attempts)
            if trouble is not None:
                return await self._back_off(trouble, self.lane.head(len(batch)))
            self.lane.dead_letter(kind or error, self._attempts.current)
        if exhausted:
            self._attempts.settled(len(batch))
            self._attempts.reset()
        if kind is not None and not one_is_to_blame:
            await self._close(min(CLOSE_TIMEOUT, self._options.timeout))
            await self._back_off(kind, [] if exhausted else batch)
        elif not exhausted:
            await self._back_off(UnknownKindError(f"{type(error).__name__}: {error}"), batch)
        return None

    async def _ended(self, events: list[Event], error: Ended) -> None:
        """Handle the end of the connection, or a refusal, for which one of these events may be the cause."""
        suspects = self._attempts.suspects
        final: DeliveryError | None = suspects.ended(events, error)
        if final is None and len(events) == 1 and self._attempts.exhausted(error):
            final = error
        if final is not None:
            trouble = await store_dead_letter(self.lane, events[0], final, self._attempts)
            if trouble is not None:
                return await self._back_off(trouble, events)
            self.lane.dead_letter(final, self._attempts.current)
            suspects.given_up(events[0])
            self._attempts.reset()
            self._health.reset_waits()
            return None
        self._attempts.record_end(len(events))
        self.lane.retried(len(events))
        return await self._wait_after(error, events)

    async def _go_on_beside(self, trouble: DeliveryError, stalled: list[Event], old: int) -> None:
        """Send later events soon, behind those at the head that wait for a part of the destination."""
        self._attempts.record_stall(old, len(stalled))
        if self._attempts.failing_for >= STALL_NOTED:
            self._health.record_failure(trouble, stalled, self._attempts.failed)
        await self._wait(PASS_EVERY + PASS_COST * len(stalled))

    async def _back_off(self, trouble: DeliveryError, batch: list[Event], held: int = 0, old: int = 0) -> None:
        """Record the failure and wait before the next attempt; a stop or a reconnect ends the wait.

        `held` events at the head are refused for themselves: those behind them are sent meanwhile. If `old` is given,
        so many had failed before.
        """
        self._attempts.record_failure(old or len(batch))
        self.lane.retried(len(batch))
        await self._wait_after(trouble, batch, held)

    async def _wait_after(self, trouble: DeliveryError, batch: list[Event], held: int = 0) -> None:
        self._health.record_failure(trouble, batch, self._attempts.failed)
        await self._wait(self._health.next_wait(trouble), held)

    async def _wait(self, wait: float, held: int = 0) -> None:
        self._retry_now.clear()
        if self._reconnected is not None:
            return None
        if held:
            return await self._pass_by(held, wait)
        try:
            async with asyncio.timeout(wait):
                await self._retry_now.wait()
        except TimeoutError:
            pass

    def _recovered(self) -> None:
        """Record that the destination works."""
        if self._attempts.failed or self._attempts.head:
            self._attempts.reset()
        if self.lane.state != "open" and self._block.error is None:
            self._health.recovered()

    async def _close(self, timeout: float) -> None:
        """Close the destination; a close that fails or hangs is logged and abandoned."""
        self._opened = False
        task = asyncio.current_task()
        try:
            async with asyncio.timeout(timeout):
                await self._destination.close()
        except BaseException as error:
            _raise_if_cancelled(task, error)
            log.info("%s: closing failed: %s", self.lane.name, text_of(error))
        finally:
            self._block.end()  # the block ended with the connection


def _raise_if_cancelled(task: asyncio.Task[None] | None, error: BaseException) -> None:
    """Raise if a call of the destination is over because the task is; a library may have changed the exception."""
    if ends(error, task):
        raise error
    if task is not None and task.cancelling():
        raise asyncio.CancelledError from error

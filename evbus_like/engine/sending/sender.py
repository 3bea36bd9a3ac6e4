"""A sender chooses what a lane sends next, and decides what becomes of each event when its destination has answered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
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
)
from evbus_like.engine.event import Event
from evbus_like.engine.failure import UnknownKindError, classify
from evbus_like.engine.foreign import raise_if_cancelled, tamed
from evbus_like.engine.rate import parse
from evbus_like.engine.sending.attempts import Attempts
from evbus_like.engine.sending.connection import LaneConnection
from evbus_like.engine.sending.dead_letters import store_dead_letter
from evbus_like.engine.sending.destination import Destination, LaneOptions, Outcomes
from evbus_like.engine.sending.health import REMIND, Health
from evbus_like.engine.sending.lane import Lane
from evbus_like.engine.sending.pace import Pace
from evbus_like.engine.sending.suspects import Ended

PASS_EVERY = 0.05  # seconds between two looks for events behind those that are refused, or stalled
STALL_NOTED = 2.0  # seconds after which a stalled part is trouble, and not just slow
PASS_COST = 10e-6  # seconds more for each of these: looking through 10,000 takes about 20 ms
SWEEP = 1.0  # seconds, at least, between two looks for expired events in the whole lane, while nothing is delivered


class Sender:
    """Sends a lane's events to one destination in order, one batch at a time; each is retried until it is settled.

    The lane's worker calls `step` again and again, and makes another sender when the lane has a new destination.
    """

    def __init__(self, lane: Lane, destination: Destination, options: LaneOptions) -> None:
        self.lane = lane
        self.connection = LaneConnection(lane.name, destination, options.timeout)
        self._options = options
        self._block = self.connection.block
        self._health = Health(lane)
        self._attempts = Attempts(options)
        self._retry_now = asyncio.Event()  # ends the wait before the next attempt
        self._leaving = False  # whether the lane has another destination now
        self._swept = 0.0  # when the whole lane was looked through for expired events
        rate = parse(options.rate)
        self._pace = None if rate is None else Pace(rate, lane.slot)

    # ---- what the worker calls

    async def step(self) -> bool:
        """Do what is next for the events of the lane; False, at once, if the destination is open and none waits."""
        lane = self.lane
        if lane.behind and self._wants_more():
            await self._attempt(self._refill)
        elif not self.connection.is_open:
            await self._attempt(self._open)
        elif not lane.queue:
            return False
        elif self._block.error is not None:
            await self._wait_while_blocked(self._block.error)
        elif self._attempts.suspects.wants_other(lane.queue[0]):
            await (self._attempt(self._refill) if len(lane.queue) == 1 and lane.behind else self._try_other())
        elif self._pace is None or self._pace.allowed:
            await self._attempt(self._publish)
        else:  # before the next batch all that is above is looked at again
            await self._may_send()
        return True

    def remove_expired(self) -> bool:
        """Remove what has expired of the next batch, or of a whole lane that delivers nothing; returns whether any."""
        lane, now, most = self.lane, monotonic(), self._options.batch_events
        if lane.state != "open" and now - self._swept > SWEEP:
            self._swept, most = now, len(lane.queue)
        if gone := lane.remove_expired(self._attempts.stalled, most):  # stalled ones may be on their way
            self._attempts.removed(gone)
        return bool(gone)

    @property
    def is_refused_again(self) -> bool:
        """Whether the destination refuses, and has done so more than once."""
        return self.lane.state == "refused" and self._attempts.failed > 1

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

    def wake(self) -> None:
        """End the wait before the next attempt."""
        self._retry_now.set()

    def leave(self) -> None:
        """Wait for nothing any more, because the lane has a new destination; a batch in flight is finished."""
        self._leaving = True
        self._block.end()
        self.wake()

    async def end(self) -> None:
        """Close the connection for the last time, because the lane has a new destination."""
        await self.connection.close()
        self.lane.retried(self._attempts.stalled)  # they may be on their way, and are sent again

    # ---- one attempt

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
            raise_if_cancelled(task, error)
            await self._failed(batch, error if isinstance(error, asyncio.CancelledError) else tamed(error))
        finally:
            self.lane.set_in_flight(0)

    def _wants_more(self) -> bool:
        """Whether to read events from the outbox: the queue has too few that could be sent."""
        attempts, count = self._attempts, len(self.lane.queue)
        if attempts.stalled:
            return count - attempts.stalled < self._options.batch_events and not self.lane.full
        return count < self._options.batch_events and not attempts.head

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
        await self.connection.open()
        if self.lane.state == "starting" or not batch:
            self._recovered()

    async def _publish(self, batch: list[Event]) -> None:
        begun = perf_counter()
        outcomes = await self.connection.publish(batch)
        self.lane.published(perf_counter() - begun)
        if outcomes is None:
            self._attempts.settled(len(batch))
            self.lane.deliver(len(batch), attempts=self._attempts.current)
            self._recovered()
        elif 0 < len(outcomes) <= len(batch):
            await self._settle(batch, outcomes)
        else:
            raise ValueError(f"the plugin gave {len(outcomes)} outcomes for {len(batch)} events")

    async def _may_send(self) -> bool:
        """Wait until the profile's rate lets events be sent; a stop, a pause or a reload ends the wait, with False."""
        pace, lane = self._pace, self.lane
        if pace is None or pace.allowed:
            return True
        if self._leaving:
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

    # ---- out of turn

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
            outcomes = await self.connection.publish(batch)
        except BaseException as error:
            raise_if_cancelled(task, error)
            await self.connection.close()
            return [classify(error) or tamed(error)] if isinstance(error, asyncio.CancelledError) else [tamed(error)]
        finally:
            lane.set_in_flight(0)
        outcomes = [None] * len(batch) if outcomes is None else outcomes[: len(batch)]
        lane.deliver_from(at, outcomes)
        return [outcome for outcome in outcomes if isinstance(outcome, Exception)]

    # ---- what becomes of the events

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
        if isinstance(kind, Ended) and batch and self.connection.is_open:
            await self.connection.close()
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
            await self.connection.close()
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

    def _recovered(self) -> None:
        """Record that the destination works."""
        if self._attempts.failed or self._attempts.head:
            self._attempts.reset()
        if self.lane.state != "open" and self._block.error is None:
            self._health.recovered()

    # ---- waiting

    async def _wait_while_blocked(self, trouble: Blocked) -> None:
        self._health.record_failure(trouble, [], self._attempts.failed)
        await self._block.wait(REMIND)

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
        if self._leaving:
            return None
        if held:
            return await self._pass_by(held, wait)
        try:
            async with asyncio.timeout(wait):
                await self._retry_now.wait()
        except TimeoutError:
            pass

"""A worker: the one task that empties a lane, and what it does when that fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import cached_property
from time import monotonic

from evbus_like.engine.backoff import Backoff
from evbus_like.engine.errors import Blocked, DeliveryError, DestinationRefused, PoisonEvent, PutError, TransientError
from evbus_like.engine.event import Event
from evbus_like.engine.failure import Failure, classify
from evbus_like.engine.sending.block import Block
from evbus_like.engine.sending.dead_letters import bury
from evbus_like.engine.sending.destination import Outcomes
from evbus_like.engine.sending.lane import Lane
from evbus_like.engine.sending.retries import Tries

log = logging.getLogger("evbus_like.lane")

REMIND = 60.0  # seconds between two log lines about the same trouble
REFUSED_BASE = 1.0  # seconds; somebody has to act first, so there is no hurry
CLOSE_TIMEOUT = 5.0  # seconds that a connection may take to close before it is left to itself


class Worker:
    """Carries a lane's events out: in order, one batch at a time, each retried until it is settled."""

    def __init__(self, lane: Lane, due: list[Callable[[], None]]) -> None:
        self.lane = lane
        self._due = due
        self._draining = False
        self._task: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._renewed: asyncio.Future[None] | None = None  # where the lane has a new destination
        self._begin()

    def _begin(self) -> None:
        """Go by the lane's destination and options, nothing being known of them."""
        lane, options = self.lane, self.lane.options
        self._options, self._destination = options, lane.destination
        self._reported = False  # whether this refusal was told already
        self._logged = -REMIND
        for name in ("_backoff", "_refused", "_block", "_tries"):
            self.__dict__.pop(name, None)
        immediate = lane.destination.publish_now is not None
        if not immediate:
            lane.destination.on_blocked = self.blocked
        self._opened = immediate
        lane.state, lane.error = "open" if immediate else "starting", None
        lane.wake = self._soon if immediate else lane.filled.set

    # Made when they are needed first: a bus may have 10,000 lanes, and the collector of garbage looks at all they have.

    @cached_property
    def _nudged(self) -> asyncio.Event:
        """Ends the wait for the next try."""
        return asyncio.Event()

    @cached_property
    def _backoff(self) -> Backoff:
        return Backoff(self._options.retry_base, self._options.retry_cap)

    @cached_property
    def _refused(self) -> Backoff:
        return Backoff(REFUSED_BASE, self._options.refused_cap)

    @cached_property
    def _tries(self) -> Tries:
        return Tries(self._options)

    @cached_property
    def _block(self) -> Block:
        return Block(self._options.timeout)

    def _soon(self) -> None:
        self._due.append(self.deliver_now)

    def start(self) -> None:
        """Begin; the worker connects by itself, and as often as it takes.

        Where the destination can deliver without waiting, `deliver_now` does, and the task is for the rest.
        """
        if self.lane.destination.publish_now is None or self.lane.behind:
            self._start()

    def _start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=f"evbus_like lane {self.lane.name}")

    def deliver_now(self) -> None:
        """Deliver what the destination takes without waiting; a batch of ten then costs 3 µs and no task switch."""
        if self._closing is not None:  # what is left is being spilled, or is for the next start
            return
        publish_now = self._destination.publish_now
        while self.lane.queue and self._task is None:
            batch = self.lane.head(self._options.batch_events)
            try:
                done = publish_now(batch)  # type: ignore[misc]
            except Exception:
                done = 0  # `publish` will say it again, to somebody who knows what to do
            self.lane.deliver(done)
            if done < len(batch):
                self._start()
        if self.lane.behind and self._task is None:
            self._start()

    def blocked(self, reason: str | None) -> None:
        """Note that the destination takes nothing for now and why; None: it takes events again, or is not connected.

        It may come at any time, in the middle of a publish, too; in the lane's event loop.
        """
        if reason is not None and self.lane.state != "closed":
            self._note(self._block.begin(reason), "blocked", [])
        elif reason is None and self._block.error is not None:
            self._block.end()
            if not self.lane.queue:  # else the next confirm says whether it works
                self._healthy()

    async def drain(self) -> None:
        """Return when the lane is empty, or when a destination that refuses has refused once more."""
        self._draining = True
        self._nudged.set()
        self.lane.filled.set()
        if self._task is not None and (self.lane.queue or self.lane.behind):
            await asyncio.wait([self._task])

    def renew(self) -> asyncio.Future[None]:
        """Go on with the lane's new destination and options; done when the old connection is closed.

        A batch in flight has its time first, at a destination that is blocked, too. The tries of the events at the head
        are counted anew.
        """
        self._block.end()
        if self._renewed is None:
            self._renewed = asyncio.get_running_loop().create_future()
        self._nudged.set()
        self.lane.filled.set()
        if self._task is None:
            self._start()
        return self._renewed

    async def _renew(self) -> None:
        renewed, self._renewed = self._renewed, None
        try:
            await self._close(min(CLOSE_TIMEOUT, self._options.timeout))
            self._destination.on_blocked = lambda reason: None
            self._begin()
        finally:  # whoever waits must not wait for a task that was cancelled
            if renewed is not None and not renewed.done():
                renewed.set_result(None)

    async def close(self, timeout: float) -> None:
        """End the task and close the connection, whatever the lane still holds; a second call waits for the first."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._end(timeout), name=f"evbus_like close {self.lane.name}")
        await asyncio.shield(self._closing)

    async def _end(self, timeout: float) -> None:
        if self._renewed is not None:
            self._renewed.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=timeout)
        await self._spill(timeout)
        await self._close(timeout)
        self.lane.close()

    async def _spill(self, timeout: float) -> None:
        """Store what the lane holds in memory alone, where its profile says so."""
        lane = self.lane
        if lane.options.when_full != "spill" or lane.outbox is None:
            return
        left: list[Event] = []
        try:
            async with asyncio.timeout(timeout):
                while (left := lane.unstored()) or lane.held:  # a commit that is under way may bring more
                    if left:
                        lane.stored(left, await lane.outbox.append([(event, (lane.name,)) for event in left]))
                    else:
                        await asyncio.sleep(0.001)
        except (PutError, TimeoutError) as error:
            lost = len(left) or lane.held
            log.error("%s: %d events could not be spilled to the outbox and are lost: %s", lane.name, lost, error)

    async def _run(self) -> None:
        lane = self.lane
        while self._renewed is not None or not (
            self._draining and (not (lane.queue or lane.behind) or self._refused_again())
        ):
            if self._renewed is not None:
                await self._renew()
            elif lane.behind and len(lane.queue) < self._options.batch_events and not self._tries.head:
                await self._attempt(self._refill)
            elif not self._opened:
                await self._attempt(self._open)
            elif lane.queue:
                await (self._attempt(self._publish) if self._block.error is None else self._sit_out(self._block.error))
            elif self._destination.publish_now is not None:
                break
            else:
                lane.filled.clear()
                await lane.filled.wait()
        if self._destination.publish_now is not None:
            self._task = None

    def _refused_again(self) -> bool:
        return self.lane.state == "refused" and self._tries.failed > 1

    async def _attempt(self, step: Callable[[list[Event]], Awaitable[None]]) -> None:
        """Run one step for the batch at the head.

        Client libraries cancel those who wait on a connection that dies (aio-pika does, when a heartbeat is missed),
        and turn a cancellation of ours into errors of theirs: whether this task was cancelled, only the task knows.
        """
        # One event is enough of a probe where the destination refuses.
        batch = self.lane.head(1 if self.lane.state == "refused" else self._tries.most)
        self.lane.in_flight = len(batch) if step == self._publish else 0
        try:
            await step(batch)
        except (Exception, asyncio.CancelledError) as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise asyncio.CancelledError from error
            await self._failed(batch, error)
        finally:
            self.lane.in_flight = 0

    async def _refill(self, batch: list[Event]) -> None:
        """Read on in the outbox."""
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
        except DeliveryError:
            raise
        except TimeoutError as error:
            raise TransientError(f"no connection within {self._options.timeout:g} s") from error
        except Exception as error:  # no event is to blame for a connection that fails
            raise classify(error, sent=False) or TransientError(f"{type(error).__name__}: {error}") from error
        self._opened = True
        if self.lane.state == "starting" or not batch:
            self._healthy()

    async def _publish(self, batch: list[Event]) -> None:
        async with self._block.deadline():
            outcomes = await self._destination.publish(batch)
        if outcomes is None:
            self._tries.settled(len(batch))
            self.lane.deliver(len(batch), attempts=self._tries.this)
            self._healthy()
        elif 0 < len(outcomes) <= len(batch):
            await self._settle(batch, outcomes)
        else:
            raise ValueError(f"the plugin gave {len(outcomes)} outcomes for {len(batch)} events")

    async def _sit_out(self, trouble: Blocked) -> None:
        """Wait until the destination takes events again, and say now and then that it does not."""
        self._note(trouble, "blocked", [])
        await self._block.wait(REMIND)

    async def _settle(self, batch: list[Event], outcomes: Outcomes) -> None:
        """Settle a batch event by event; what is tried again stays at the head, in its order."""
        dead: set[int] = set()
        again: list[Event] = []
        trouble: DeliveryError | None = None
        for index, outcome in enumerate(outcomes):
            if isinstance(outcome, BaseException) and self._tries.spent(outcome):
                trouble = await bury(self.lane, batch[index], outcome, self._tries.this, self._tries.first_failed)
                if trouble is not None:
                    break
                dead.add(index)
        for index, outcome in enumerate(outcomes):
            if not isinstance(outcome, BaseException):
                self.lane.deliver(answer=outcome, attempts=self._tries.this)
            elif index in dead:
                self.lane.dead_letter(outcome, self._tries.this)
            else:
                again.append(self.lane.set_aside())
                kind = classify(outcome) or TransientError(f"{type(outcome).__name__}: {outcome}")
                trouble = trouble if isinstance(trouble, DestinationRefused) else kind
        self.lane.put_back(again)
        self._tries.settled(len(outcomes) - len(again))
        if trouble is None:
            self._healthy()
        else:
            await self._back_off(trouble, again)

    async def _failed(self, batch: list[Event], error: BaseException) -> None:
        """Deal with a step that failed as a whole."""
        kind = classify(error)
        one_spoils_all = kind is None or isinstance(kind, PoisonEvent)
        if one_spoils_all and len(batch) > 1:
            self.lane.retried(len(batch))
            self._tries.spoilt(len(batch))
            return None
        spent = bool(batch) and self._tries.spent(error)
        for event in batch if spent else ():
            trouble = await bury(self.lane, event, kind or error, self._tries.this, self._tries.first_failed)
            if trouble is not None:
                return await self._back_off(trouble, self.lane.head(len(batch)))
            self.lane.dead_letter(kind or error, self._tries.this)
        if spent:
            self._tries.settled(len(batch))
            self._tries.forget()
        if kind is not None and not one_spoils_all:
            await self._close(min(CLOSE_TIMEOUT, self._options.timeout))
            await self._back_off(kind, [] if spent else batch)
        elif not spent:
            await self._back_off(TransientError(f"{type(error).__name__}: {error}"), batch)
        return None

    async def _back_off(self, trouble: DeliveryError, batch: list[Event]) -> None:
        """Note the trouble and wait before the next try; a stop, and a renewal, end the wait that is under way."""
        self._tries.again(len(batch))
        self.lane.retried(len(batch))
        refused = isinstance(trouble, DestinationRefused)
        state = "refused" if refused else "blocked" if isinstance(trouble, Blocked) else "retrying"
        self._note(trouble, state, batch)
        wait = (self._refused if refused else self._backoff).next()
        self._nudged.clear()
        if self._renewed is not None:
            return
        try:
            async with asyncio.timeout(wait):
                await self._nudged.wait()
        except TimeoutError:
            pass

    def _note(self, trouble: DeliveryError, state: str, batch: list[Event]) -> None:
        """Log new trouble at once and lasting trouble now and then; report a refusal once."""
        lane = self.lane
        if batch and state == "refused" and not self._reported:
            self._reported = True
            lane.report(Failure(trouble, batch[0], lane.name, self._tries.failed, final=False))
        new = lane.state != state or str(trouble) != str(lane.error)
        if new or monotonic() - self._logged > REMIND:
            self._logged = monotonic()
            word = {"refused": "refuses", "blocked": "takes nothing for now"}.get(state, "cannot be reached")
            then = "" if state == "blocked" else ", trying again"
            log.warning("%s %s, %d events wait%s: %s", lane.name, word, len(lane.queue), then, trouble)
        lane.state, lane.error = state, trouble

    def _healthy(self) -> None:
        """Note that the destination works, and begin the next trouble anew."""
        if self._tries.failed:
            self._tries.forget()
        if self.lane.state == "open" or self._block.error is not None:
            return
        if self.lane.error is not None:
            log.warning("%s is back, %d events wait", self.lane.name, len(self.lane.queue))
        self.lane.state, self.lane.error = "open", None
        self._reported = False
        self._backoff.reset()
        self._refused.reset()

    async def _close(self, timeout: float) -> None:
        """Close the destination; a close that fails or hangs is no reason to stay."""
        self._opened = False
        try:
            async with asyncio.timeout(timeout):
                await self._destination.close()
        except (Exception, asyncio.CancelledError) as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise asyncio.CancelledError from error
            log.info("%s: closing failed: %s: %s", self.lane.name, type(error).__name__, error)
        finally:
            self._block.end()  # it was the connection's

"""A consumer receives the events of one subscription, has an invoker handle them, and settles them."""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from time import perf_counter
from typing import Any

from evbus_like.engine import event_log
from evbus_like.engine.backoff import Backoff
from evbus_like.engine.errors import DestinationRefused
from evbus_like.engine.foreign import ends
from evbus_like.engine.histogram import BOUNDS, Histogram
from evbus_like.engine.message import Message
from evbus_like.engine.rate import Bucket
from evbus_like.engine.receiving.breaker import CLOSED, CircuitBreaker
from evbus_like.engine.receiving.dedup import DedupWindow
from evbus_like.engine.receiving.disposition import (
    ACK,
    AGAIN,
    DONE,
    EXPIRED,
    REPEAT,
    UNWANTED,
    Disposition,
    described,
    is_unhandled,
)
from evbus_like.engine.receiving.invoker import Invoker
from evbus_like.engine.receiving.keyed_queue import KeyedQueue
from evbus_like.engine.receiving.queues import queue_for
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.receiving.rules import REQUEUE, RETRY, SHUTDOWN
from evbus_like.engine.receiving.settler import Settler
from evbus_like.engine.receiving.source import Feed, Source
from evbus_like.engine.receiving.stats import ConsumerStats
from evbus_like.engine.receiving.subscription import Subscription

log = logging.getLogger("evbus_like.handlers")

RETRY_CAP = 5.0  # seconds, at most, between two attempts to reach a lost source
REFUSED_CAP = 30.0  # the same for a source that refuses
GRACE = 2.0  # seconds for cancelled tasks to end


class Consumer:
    """One invoker on one source.

    Up to `max_workers` tasks call the invoker, unless it has `call_now`; the subscription's prefetch bounds the events
    that are received and not settled. A source that is absent or lost is tried again forever. `shut_down` is called
    with a reason if an event's disposition is SHUTDOWN.
    """

    def __init__(
        self,
        invoker: Invoker,
        source: Source,
        subscription: Subscription,
        shut_down: Callable[[str], None],
        dedup: DedupWindow | None = None,
        bucket: Bucket | None = None,
    ) -> None:
        self.invoker = invoker
        self.source = source
        self.subscription = subscription
        self.name = f"{invoker.handler.ref} on {source.name}"
        self.stats = ConsumerStats()
        self.running = Histogram()  # of the calls of the invoker
        self.subscribed = asyncio.Event()  # set while there is a feed
        self._shut_down = shut_down
        self._handler = f"{invoker.handler.service}.{invoker.handler.name}"
        self._is_logged = event_log.is_on()  # each event
        self.breaker: CircuitBreaker | None = None
        if invoker.options.breaker is not None:
            self.breaker = invoker.breaker = CircuitBreaker(invoker.options.breaker, self.name)
        options = invoker.options
        bucket = bucket or (None if options.rate is None else Bucket(options.rate_parsed))
        decode = getattr(invoker, "decode", None)
        self._queue: KeyedQueue = queue_for(options, self._add_worker, self.breaker, bucket, self._limited, decode)
        self._settler = Settler(source, self.stats, self._queue)
        self._dedup = dedup or (DedupWindow(invoker.options.dedup) if invoker.options.dedup else None)
        self._workers: set[asyncio.Task[None]] = set()
        self._settling: set[asyncio.Task[None]] = set()  # for events whose disposition was pending
        self._busy = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._leave = asyncio.Event()  # set when the feed is to end, because of `stop` or `renew`
        self._stopping = False
        self._paused = ""  # why it receives nothing for now, because an operator says so
        self._next = source  # from which the next feed comes
        self._renewal: asyncio.Future[None] | None = None
        self._within = 0.0  # seconds that handlers under way have when the feed ends for a renewal
        self.before_leaving: Callable[[], Awaitable[None]] | None = None  # is awaited before a renewal ends the feed

    def _limited(self) -> None:
        self.stats.limited += 1

    @property
    def state(self) -> str:
        """The state of its source, `tripped` where that is open and the breaker is, too."""
        tripped = self.breaker is not None and self.breaker.state != CLOSED and self.stats.state == "open"
        return "tripped" if tripped else self.stats.state

    @property
    def trouble(self) -> str:
        """What is wrong, in words; nothing where all is well."""
        return self.stats.trouble or (self.breaker.text if self.breaker is not None else "")

    @property
    def feed(self) -> Feed:
        """What the source returned for the current subscription; None while there is none."""
        return self._settler.feed

    @property
    def busy(self) -> int:
        """The number of events that are being handled."""
        return self._busy

    async def send(self, messages: Sequence[Message]) -> None:
        """Send messages over the connection that the events come from."""
        await self.source.send(self.feed, messages)

    async def run(self) -> None:
        """Receive until `stop`, then wait for the events that are being handled."""
        self.invoker.loop = asyncio.get_running_loop()
        backoff = Backoff(0.1, RETRY_CAP)
        try:
            while not self._stopping:
                if self._paused:
                    await self._wait_while_paused()
                    continue
                try:
                    await self._consume_feed(backoff)
                except Exception as error:
                    self._lost(error)
                    backoff.cap = REFUSED_CAP if isinstance(error, DestinationRefused) else RETRY_CAP
                    with suppress(TimeoutError):
                        async with asyncio.timeout(backoff.next()):
                            await self._leave.wait()
        finally:
            self.stats.state = "closed"
            self._renewed()
            self.invoker.closing = True
            if await _cancel(*self._workers, *self._settling):
                log.warning("%s: the handler ignored its cancellation and was abandoned", self.name)
            self.invoker.close()
            if self.breaker is not None:
                self.breaker.close()

    def stop(self) -> None:
        """Receive no more events; `run` returns when those that are being handled are done."""
        self._stopping = True
        self._leave.set()

    def pause(self, why: str) -> None:
        """Receive nothing, for this reason, or receive again, without one.

        Events that are being handled are finished first, and those that are not begun go back to the source.
        """
        if self._paused == why:
            return
        if not (self._paused and why):
            log.warning("%s is %s", self.name, why or "resumed")
        self._paused = why
        self._leave.set()

    async def _wait_while_paused(self) -> None:
        self.subscribed.set()  # nobody waits for what an operator has paused
        while self._paused and not self._stopping:
            self.stats.state, self.stats.trouble = "paused", self._paused
            self.source = self._next
            self._renewed()
            self._leave.clear()
            await self._leave.wait()
        self.subscribed.clear()
        if not self._stopping:
            self.stats.state, self.stats.trouble = "starting", ""

    def renew(self, source: Source, within: float, at_once: bool = True) -> asyncio.Future[None]:
        """Receive from another source, which replaces this one; returns a future that is done when that was tried.

        The handlers under way have `within` seconds to finish, and their events are settled before the feed ends. With
        `at_once` false, the other source is used when this one is lost.
        """
        self._next, self._within = source, within
        self._renewed()
        self._renewal = renewal = asyncio.get_running_loop().create_future()
        if at_once and not self._stopping and self.stats.state != "closed":
            self._leave.set()
        else:
            self._renewed()
        return renewal

    def _renewed(self) -> None:
        if self._renewal is not None and not self._renewal.done():
            self._renewal.set_result(None)

    async def _consume_feed(self, backoff: Backoff) -> None:
        """Subscribe, receive until the feed is lost or is to end, and unsubscribe."""
        if not self._stopping:
            self._leave.clear()
            self.source = self._next
        source = self.source
        subscribing = asyncio.create_task(self._subscribe(), name=f"evbus_like subscribe {self.name}")
        await self._until_stop(subscribing)
        if await _cancel(subscribing) or subscribing.cancelled():
            return
        feed, now = subscribing.result(), asyncio.get_running_loop().time
        begun = now()
        self._settler.begin(feed, source)
        self._opened()
        receiving = asyncio.create_task(self._receive(feed, backoff), name=f"evbus_like receive {self.name}")
        acking = asyncio.create_task(self._settler.send_acks(), name=f"evbus_like acks {self.name}")
        try:
            await self._until_stop(receiving, acking)
            renews = self._leave.is_set() and not self._stopping and not self._paused
            deadline = await self._left() if renews else None
            await _cancel(receiving)
            for task in (receiving, acking):
                if task.done() and not task.cancelled():
                    task.result()
            await (self._finish() if deadline is None else self._finish_until(deadline))
        finally:
            self.subscribed.clear()
            self._settler.end()
            self._queue.clear()
            await _cancel(receiving, acking)
            await self._unsubscribe(source, feed)
            if now() - begun > backoff.cap:
                backoff.reset()

    async def _subscribe(self) -> Feed:
        async with asyncio.timeout(self.source.timeout):
            return await self.source.subscribe(self.subscription)

    async def _unsubscribe(self, source: Source, feed: Feed) -> None:
        task = asyncio.current_task()
        cancelled = task is not None and task.cancelling()  # the stop took longer than its timeout
        with suppress(Exception):
            async with asyncio.timeout(GRACE if cancelled else source.timeout):
                await source.unsubscribe(feed)

    async def _until_stop(self, *tasks: asyncio.Task[Any]) -> None:
        """Wait until one of the tasks ends or the feed is to end."""
        stopping = asyncio.create_task(self._leave.wait(), name=f"evbus_like stop {self.name}")
        try:
            await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            for task in tasks:
                task.cancel()
            raise
        finally:
            stopping.cancel()

    async def _finish(self) -> None:
        """Wait for the events that are being handled, and send their acks."""
        self._queue.clear()
        self._settler.stop_retries()
        await self._idle.wait()
        await self._settler.flush()

    async def _left(self) -> float:
        """Begin to leave the feed for another source, and return the deadline; events still arrive meanwhile."""
        self.subscribed.clear()
        deadline = asyncio.get_running_loop().time() + self._within
        if self.before_leaving is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    await self.before_leaving()
        return deadline

    async def _finish_until(self, deadline: float) -> None:
        """Finish, but not later than this; what is not done then is delivered again."""
        try:
            async with asyncio.timeout_at(deadline):
                await self._finish()
        except TimeoutError:
            log.warning(
                "%s reconnects while %d events are handled, for they took longer than %g s; they are delivered again",
                self.name,
                self._busy,
                self._within,
            )

    async def _receive(self, feed: Feed, backoff: Backoff) -> None:
        """Receive while fewer events than `prefetch` are open."""
        receive, settler, stats = self.source.receive, self._settler, self.stats
        handle = self._queue.add if self.invoker.call_now is None else self._handle_now
        first = prefetch = self.subscription.prefetch
        while True:
            events = await receive(feed)
            if first > 0:  # a broker that has restarted may not know that it delivered these before
                for event in events:
                    event.may_repeat = True
                first -= len(events)
            if not events:  # against the contract; such a source must not block the event loop
                await asyncio.sleep(0.01)
            if backoff.attempts:
                backoff.reset()
            stats.received += len(events)
            if self._is_logged:
                event_log.received(events, self.source.name, self._handler)
            for event in events:
                settler.add(event)
                handle(event)
            if settler.open >= prefetch:
                await settler.wait_for_room(prefetch)

    def _handle_now(self, event: ReceivedEvent) -> None:
        """Handle an event without a worker; it is acknowledged in any case."""
        assert self.invoker.call_now is not None
        try:
            self._count(self.invoker.call_now(event))
        except Exception:
            log.exception("%s could not handle %s", self.name, event)
        self._settler.ack(event)

    def _add_worker(self) -> None:
        """Start one more worker, up to `max_workers`: an event is ready, and all workers are busy."""
        if len(self._workers) < self.invoker.options.max_workers and not self.invoker.closing:
            self._workers.add(asyncio.create_task(self._work(), name=f"evbus_like handle {self.name}"))

    async def _work(self) -> None:
        """Handle one event after another."""
        task = asyncio.current_task()
        while not self.invoker.closing:
            event = await self._queue.next()
            if not self._busy:
                self._idle.clear()
            self._busy += 1
            try:
                await (self._call(event) if self._dedup is None else self._handle(event))
            except BaseException as error:
                if ends(error, task):
                    raise
                log.exception("%s could not handle %s, which becomes a dead letter", self.name, event)
                await self._settler.give_up(event, f"it could not be handled: {type(error).__name__}")
            finally:
                self._ended()

    def _ended(self) -> None:
        self._busy -= 1
        if not self._busy:
            self._idle.set()

    async def _handle(self, event: ReceivedEvent) -> None:
        dedup = self._dedup if event.id else None  # an event without an id repeats none
        if dedup is None:
            await self._call(event)
            return
        async with dedup.one_at_a_time(event.id):
            if dedup.has(event.id) and not event.revoked:
                self.stats.repeats += 1
                self._settler.ack(event)
            elif not self._stopping:  # it may have waited for another event with its id
                await self._call(event, dedup)

    async def _call(self, event: ReceivedEvent, dedup: DedupWindow | None = None) -> None:
        if event.revoked:
            self._settler.forget(event)
            return
        event.busy = True
        begun = perf_counter()
        disposition = await self.invoker.call(event)
        took = perf_counter() - begun
        self.running.counts[bisect_left(BOUNDS, took)] += 1  # `Histogram.add` in place: its call would cost as much
        self.running.sum += took
        if self._is_logged:
            event_log.handled(event, self._handler, outcome_of(disposition), took)
        if disposition.until is not None:
            self._busy += 1
            disposition.until.add_done_callback(partial(self._decided, event))
            return
        self._count(disposition)
        if disposition.kind == ACK:
            if dedup is not None and not is_unhandled(disposition):
                await dedup.add(event.id)
            self._settler.ack(event)
            return
        await self._settle(event, disposition)

    def _count(self, disposition: Disposition) -> None:
        if disposition is DONE:
            self.stats.handled += 1
        elif disposition is UNWANTED:
            self.stats.filtered += 1
        elif disposition is EXPIRED:
            self.stats.expired += 1
        elif disposition is REPEAT:
            self.stats.repeats += 1
        else:
            self.stats.failed += 1

    def _decided(self, event: ReceivedEvent, until: asyncio.Future[Disposition]) -> None:
        """Settle an event whose disposition was pending when its worker went on."""
        disposition = until.result()
        if disposition is DONE:
            self._count(disposition)
            self._settler.ack(event)
            self._ended()
        elif self.invoker.closing:
            self._settler.forget(event)
            self._ended()
        else:
            self._count(disposition)
            task = asyncio.create_task(self._settle(event, disposition), name=f"evbus_like settle {self.name}")
            self._settling.add(task)
            task.add_done_callback(self._settled)

    def _settled(self, task: asyncio.Task[None]) -> None:
        self._settling.discard(task)
        self._ended()
        if not task.cancelled() and (error := task.exception()):
            log.error("%s could not settle an event", self.name, exc_info=error)

    async def _settle(self, event: ReceivedEvent, disposition: Disposition) -> None:
        if disposition.kind == SHUTDOWN:
            self._shut_down(f"{self.invoker.handler.ref} failed, and its on_error is SHUTDOWN: {disposition.reason}")
        elif disposition.kind == AGAIN:
            self._settler.again(event)
        elif disposition.kind == RETRY and (event.order is not None or not self.source.retries):
            self._settler.retry_here(event, disposition.delay)
        elif disposition.kind == REQUEUE and event.order is not None:
            self._settler.requeue_here(event)
        else:
            await self._settler.settle(event, disposition)

    def _opened(self) -> None:
        if self.stats.trouble:
            log.warning("%s receives again", self.name)
        self.stats.state, self.stats.trouble = "open", ""
        self.subscribed.set()
        self._renewed_if_there()

    def _renewed_if_there(self) -> None:
        if self.source is self._next:
            self._renewed()

    def _lost(self, error: Exception) -> None:
        text = str(error) or type(error).__name__
        if isinstance(error, TimeoutError) and not str(error):
            text = f"no answer within {self.source.timeout:g} s"
        if text != self.stats.trouble:
            log.warning("%s receives nothing, trying again: %s", self.name, text)
        self.stats.state = "refused" if isinstance(error, DestinationRefused) else "retrying"
        self.stats.trouble = text
        self._renewed_if_there()


async def _cancel(*tasks: asyncio.Task[Any]) -> bool:
    """Cancel tasks and wait a while for their end; returns whether one of them still runs."""
    for task in tasks:
        task.cancel()
    if not tasks:
        return False
    done, running = await asyncio.wait(tasks, timeout=GRACE)
    for task in done:
        if not task.cancelled():
            task.exception()  # retrieved, so that asyncio does not log it
    return bool(running)


def outcome_of(disposition: Disposition) -> str:
    """Return what becomes of an event that was handled, in words."""
    if disposition is DONE:
        return "handled"
    if disposition is UNWANTED:
        return "not wanted"
    if disposition is EXPIRED:
        return "expired"
    if disposition is REPEAT:
        return "a repeat, which the inbox has"
    return "answered, and not yet confirmed" if disposition.until is not None else f"failed, {described(disposition)}"

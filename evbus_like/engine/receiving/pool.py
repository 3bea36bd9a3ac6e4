"""A worker pool: the tasks that have an invoker handle the events of one consumer's feed, and settle each of them."""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter

from evbus_like.engine import event_log
from evbus_like.engine.backoff import Backoff
from evbus_like.engine.foreign import ends
from evbus_like.engine.histogram import BOUNDS, Histogram
from evbus_like.engine.message import Message
from evbus_like.engine.rate import Bucket
from evbus_like.engine.receiving.breaker import CircuitBreaker
from evbus_like.engine.receiving.dedup import DedupWindow
from evbus_like.engine.receiving.disposition import (
    ACK,
    AGAIN,
    DONE,
    EXPIRED,
    REPEAT,
    UNWANTED,
    Disposition,
    is_unhandled,
    outcome_of,
)
from evbus_like.engine.receiving.invoker import Invoker
from evbus_like.engine.receiving.queues import queue_for
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.receiving.rules import REQUEUE, RETRY, SHUTDOWN
from evbus_like.engine.receiving.settler import Settler
from evbus_like.engine.receiving.source import Feed, Source
from evbus_like.engine.receiving.stats import ConsumerStats
from evbus_like.engine.waiting import end_tasks

log = logging.getLogger("evbus_like.handlers")


class WorkerPool:
    """Receives the events of a feed, and has up to `max_workers` tasks call the invoker, unless it has `call_now`.

    `shut_down` is called with a reason if an event's disposition is SHUTDOWN.
    """

    def __init__(
        self,
        name: str,
        invoker: Invoker,
        source: Source,
        shut_down: Callable[[str], None],
        dedup: DedupWindow | None = None,
        bucket: Bucket | None = None,
    ) -> None:
        options = invoker.options
        self.name = name
        self.invoker = invoker
        self.stats = ConsumerStats()
        self.running = Histogram()  # of the calls of the invoker
        self.busy = 0  # events that are being handled
        self._idle = asyncio.Event()  # set while there are none
        self._idle.set()
        self.stopping = False  # whether no event is begun any more that waited for another one with its id
        self.breaker: CircuitBreaker | None = None
        if options.breaker is not None:
            self.breaker = invoker.breaker = CircuitBreaker(options.breaker, name)
        bucket = bucket or (None if options.rate is None else Bucket(options.rate_parsed))
        self._queue = queue_for(options, self._add_worker, self.breaker, bucket, self._limited, invoker.decode)
        self.settler = Settler(source, self.stats, self._queue)
        self._dedup = dedup or (DedupWindow(options.dedup) if options.dedup else None)
        self._source = source
        self._shut_down = shut_down
        self._handler = f"{invoker.handler.service}.{invoker.handler.name}"
        self._is_logged = event_log.is_on()  # each event
        self._workers: set[asyncio.Task[None]] = set()
        self._settling: set[asyncio.Task[None]] = set()  # for events whose disposition was pending

    def _limited(self) -> None:
        self.stats.limited += 1

    # ---- the feed

    def begin(self, feed: Feed, source: Source) -> None:
        """Handle the events of this feed of a source from now on."""
        self._source = source
        self.settler.begin(feed, source)

    async def receive(self, feed: Feed, prefetch: int, backoff: Backoff) -> None:
        """Receive while fewer events than `prefetch` are open."""
        receive, settler, stats = self._source.receive, self.settler, self.stats
        handle = self._queue.add if self.invoker.call_now is None else self._handle_now
        first = prefetch
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
                event_log.received(events, self._source.name, self._handler)
            for event in events:
                settler.add(event)
                handle(event)
            if settler.open >= prefetch:
                await settler.wait_for_room(prefetch)

    async def send(self, messages: Sequence[Message]) -> None:
        """Send messages over the connection that the events come from."""
        await self._source.send(self.settler.feed, messages)

    async def finish(self) -> None:
        """Wait for the events that are being handled, and send their acks."""
        self._queue.clear()
        self.settler.stop_retries()
        await self._idle.wait()
        await self.settler.flush()

    def end(self) -> None:
        """Forget the feed and its events, which the source delivers again."""
        self.settler.end()
        self._queue.clear()

    async def close(self) -> None:
        """End the tasks, and what is left of the handlers' calls."""
        self.invoker.closing = True
        if await end_tasks(*self._workers, *self._settling):
            log.warning("%s: the handler ignored its cancellation and was abandoned", self.name)
        self.invoker.close()
        if self.breaker is not None:
            self.breaker.close()

    # ---- the tasks

    def _handle_now(self, event: ReceivedEvent) -> None:
        """Handle an event without a worker; it is acknowledged in any case."""
        assert self.invoker.call_now is not None
        try:
            self._count(self.invoker.call_now(event))
        except Exception:
            log.exception("%s could not handle %s", self.name, event)
        self.settler.ack(event)

    def _add_worker(self) -> None:
        """Start one more worker, up to `max_workers`: an event is ready, and all workers are busy."""
        if len(self._workers) < self.invoker.options.max_workers and not self.invoker.closing:
            self._workers.add(asyncio.create_task(self._work(), name=f"evbus_like handle {self.name}"))

    async def _work(self) -> None:
        """Handle one event after another."""
        task = asyncio.current_task()
        queue, invoker = self._queue, self.invoker
        handle = self._call if self._dedup is None else self._handle
        while not invoker.closing:
            event: ReceivedEvent | None = await queue.next()
            if not self.busy:
                self._idle.clear()
            self.busy += 1
            try:
                while event is not None:
                    try:
                        await handle(event)
                    except BaseException as error:
                        if ends(error, task):
                            raise
                        log.exception("%s could not handle %s, which becomes a dead letter", self.name, event)
                        await self.settler.give_up(event, f"it could not be handled: {type(error).__name__}")
                    event = None if invoker.closing else queue.next_ready()
            finally:
                self._ended()

    def _ended(self) -> None:
        self.busy -= 1
        if not self.busy:
            self._idle.set()

    async def _handle(self, event: ReceivedEvent) -> None:
        dedup = self._dedup if event.id else None  # an event without an id repeats none
        if dedup is None:
            await self._call(event)
            return
        async with dedup.one_at_a_time(event.id):
            if dedup.has(event.id) and not event.revoked:
                self.stats.repeats += 1
                self.settler.ack(event)
            elif not self.stopping:
                await self._call(event, dedup)

    async def _call(self, event: ReceivedEvent, dedup: DedupWindow | None = None) -> None:
        if event.revoked:
            self.settler.forget(event)
            return
        event.busy = True
        begun = perf_counter()
        disposition = await self.invoker.call(event)
        took, running = perf_counter() - begun, self.running
        running.counts[bisect_left(BOUNDS, took)] += 1  # `Histogram.add` in place: its call would cost as much
        running.sum += took
        if self._is_logged:
            event_log.handled(event, self._handler, outcome_of(disposition), took)
        if disposition is DONE:  # most
            self.stats.handled += 1
            if dedup is not None:
                await dedup.add(event.id)
            self.settler.ack(event)
            return
        if disposition.until is not None:
            self.busy += 1
            disposition.until.add_done_callback(partial(self._decided, event))
            return
        self._count(disposition)
        if disposition.kind == ACK:
            if dedup is not None and not is_unhandled(disposition):
                await dedup.add(event.id)
            self.settler.ack(event)
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
            self.settler.ack(event)
            self._ended()
        elif self.invoker.closing:
            self.settler.forget(event)
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
            self.settler.again(event)
        elif disposition.kind == RETRY and (event.order is not None or not self._source.retries):
            self.settler.retry_here(event, disposition.delay)
        elif disposition.kind == REQUEUE and event.order is not None:
            self.settler.requeue_here(event)
        else:
            await self.settler.settle(event, disposition)

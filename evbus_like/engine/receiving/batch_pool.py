"""A worker pool whose handler is called with batches of events."""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_left
from collections.abc import Sequence
from contextlib import AsyncExitStack
from time import perf_counter

from evbus_like.engine import event_log
from evbus_like.engine.histogram import BOUNDS
from evbus_like.engine.receiving.batch_invoker import HELD, BatchInvoker
from evbus_like.engine.receiving.batch_queue import BatchQueue
from evbus_like.engine.receiving.dedup import DedupWindow
from evbus_like.engine.receiving.disposition import ACK, AGAIN, Disposition, is_unhandled, outcome_of
from evbus_like.engine.receiving.pool import WorkerPool
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.receiving.rules import REQUEUE, RETRY

log = logging.getLogger("evbus_like.handlers")


class BatchPool(WorkerPool):
    """Handles events in batches; each event is settled by itself."""

    invoker: BatchInvoker
    _queue: BatchQueue

    async def _work(self) -> None:
        """Handle one batch after another."""
        while not self.invoker.closing:
            events = await self._queue.next_batch()
            self.busy += len(events)
            self._idle.clear()
            try:
                await self._handle_batch(events)
            except Exception as error:
                log.exception("%s could not handle %d events, which become dead letters", self.name, len(events))
                for event in events:
                    await self.settler.give_up(event, f"it could not be handled: {type(error).__name__}")
            finally:
                for _ in events:
                    self._ended()

    async def _handle_batch(self, events: Sequence[ReceivedEvent]) -> None:
        """Handle each event once; those that have the id of another one in the batch come after it."""
        dedup = self._dedup
        if dedup is None:
            await self._call_batch(events)
            return
        first = {event.id: event for event in reversed(events) if event.id}
        again = [event for event in events if event.id and first[event.id] is not event]
        async with AsyncExitStack() as alone:
            for event_id in sorted(first):  # sorted, so that two batches never wait for each other
                await alone.enter_async_context(dedup.one_at_a_time(event_id))
            chosen: list[ReceivedEvent] = []
            for event in events:
                if event.id and dedup.has(event.id) and not event.revoked:
                    self.stats.repeats += 1
                    self.settler.ack(event)
                elif event not in again and not self.stopping:
                    chosen.append(event)
            await self._call_batch(chosen, dedup)
        if again := [event for event in again if event in self.settler]:
            await self._handle_batch(again)

    async def _call_batch(self, events: Sequence[ReceivedEvent], dedup: DedupWindow | None = None) -> None:
        for event in events:
            if event.revoked:
                self.settler.forget(event)
        events = [event for event in events if not event.revoked]
        if not events:
            return
        for event in events:
            event.busy = True
        begun = perf_counter()
        dispositions = await self.invoker.call_batch(events)
        took = perf_counter() - begun
        self.running.counts[bisect_left(BOUNDS, took)] += 1
        self.running.sum += took
        found = [*zip(events, dispositions, strict=True)]
        if self._is_logged:
            for event, disposition in found:
                if disposition is not HELD:
                    event_log.handled(event, self._handler, outcome_of(disposition), took)
        await self._settle_batch(found, dedup)

    async def _settle_batch(
        self, found: Sequence[tuple[ReceivedEvent, Disposition]], dedup: DedupWindow | None
    ) -> None:
        held: list[ReceivedEvent] = []
        failed: list[tuple[ReceivedEvent, Disposition]] = []
        waiting: set[object] = set()  # keys of which an event is to be handled again
        handled = [event for event, disposition in found if disposition.kind == ACK and not is_unhandled(disposition)]
        if dedup is not None:
            await asyncio.gather(*(dedup.add(event.id) for event in handled if event.id))
        for event, disposition in found:
            if disposition is HELD:
                held.append(event)
                continue
            self._count(disposition)
            if disposition.kind == ACK:
                self.settler.ack(event)
            elif disposition.kind == AGAIN:
                held.append(event)
            elif disposition.kind in (RETRY, REQUEUE) and event.order is not None and event.order in waiting:
                event.attempt += 1
                held.append(event)
            else:
                failed.append((event, disposition))
                waiting.add(event.order)
        self._hold_back(held)
        await asyncio.gather(*(self._settle(event, disposition) for event, disposition in failed))

    def _hold_back(self, events: Sequence[ReceivedEvent]) -> None:
        """Handle events again once the earlier one of their key is done, which waits for its retry."""
        kept: list[ReceivedEvent] = []
        for event in events:
            event.busy = False
            if event in self.settler and not event.revoked:
                kept.append(event)
            else:
                self.settler.forget(event)
        self._queue.put_back(kept)

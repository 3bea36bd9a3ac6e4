"""The settler sends acks, retries, requeues and dead letters of one consumer to its source."""

from __future__ import annotations

import asyncio
import logging

from evbus_like.engine.backoff import Backoff
from evbus_like.engine.errors import TransientError
from evbus_like.engine.failure import classify
from evbus_like.engine.receiving.disposition import DEAD_LETTER, Disposition
from evbus_like.engine.receiving.keyed_queue import KeyedQueue
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.receiving.rules import REQUEUE, RETRY
from evbus_like.engine.receiving.source import Feed, Source
from evbus_like.engine.receiving.stats import ConsumerStats, Unsettled

log = logging.getLogger("evbus_like.handlers")

MOST_UNKNOWN = 3  # failures of a retry or requeue whose kind is unknown
REQUEUE_CAP = 1.0  # seconds, at most, before an event is requeued at a source that would deliver it again at once


class Settler:
    """Settles the events of one feed after another.

    An event of a feed that has ended cannot be settled: the source delivers it again, and it is counted as lost. Acks
    of one iteration of the event loop are sent together.
    """

    def __init__(self, source: Source, stats: ConsumerStats, queue: KeyedQueue) -> None:
        self._source = source
        self._stats = stats
        self._queue = queue
        self._feed: Feed = None
        self._open: set[ReceivedEvent] = set()
        self._delayed: dict[ReceivedEvent, asyncio.TimerHandle] = {}  # events that wait here for their retry
        self._acks: list[ReceivedEvent] = []
        self._sending_acks = 0
        self._ack_lock = asyncio.Lock()
        self._ending = False
        self._suspect = False  # whether the feed may be lost: it did not take a disposition
        self._acks_added = asyncio.Event()
        self._room_made = asyncio.Event()
        self._requeues = Backoff(0.05, REQUEUE_CAP)
        self._unsettled = Unsettled(stats)

    @property
    def feed(self) -> Feed:
        """The current feed; None while there is none."""
        return self._feed

    @property
    def open(self) -> int:
        """The number of events that the source counts as unsettled."""
        return len(self._open) + len(self._acks) + self._sending_acks

    def begin(self, feed: Feed, source: Source) -> None:
        """Settle the events of this feed, and at its source, from now on."""
        self._feed, self._source = feed, source
        self._ending = self._suspect = False

    def stop_retries(self) -> None:
        """Start no retry that waits here: the feed is about to end."""
        self._ending = True
        for timer in self._delayed.values():
            timer.cancel()

    def end(self) -> None:
        """Forget the feed and its open events, which the source delivers again."""
        self._feed = None
        for event, timer in self._delayed.items():
            timer.cancel()
            self._queue.done(event)
        self._delayed.clear()
        self._open.clear()
        self._unsettled.clear()
        self._sending_acks = 0
        self._stats.lost += len(self._acks)
        self._acks.clear()

    def add(self, event: ReceivedEvent) -> None:
        """Add a received event to the open ones."""
        self._open.add(event)

    async def wait_for_room(self, limit: int) -> None:
        """Wait until fewer than `limit` events are open; raises if the feed turns out to be lost.

        Nobody calls `receive` meanwhile, so only an ack, here an empty one, can show that the feed is lost.
        """
        while self.open >= limit:
            if self._suspect:
                self._suspect = False
                async with asyncio.timeout(self._source.timeout):
                    await self._source.ack(self._feed, [])
            self._room_made.clear()
            await self._room_made.wait()

    def ack(self, event: ReceivedEvent) -> None:
        """Acknowledge an event soon."""
        self._queue.done(event)
        try:
            self._open.remove(event)
        except KeyError:
            self._stats.lost += 1
            return
        if self._requeues.attempts:
            self._requeues.reset()
        if not self._acks:
            self._acks_added.set()
        self._acks.append(event)

    def forget(self, event: ReceivedEvent) -> None:
        """Drop an event that the source has taken back: it is delivered again, here or elsewhere."""
        self._queue.done(event)
        self._stats.lost += 1
        self._close(event)

    def __contains__(self, event: ReceivedEvent) -> bool:
        return event in self._open

    def again(self, event: ReceivedEvent) -> None:
        """Handle an event again after the others that are here, as if it had not been tried."""
        event.busy = False
        if event in self._open and not event.revoked:
            self._queue.retry(event)
        else:
            self.forget(event)

    def requeue_here(self, event: ReceivedEvent) -> None:
        """Handle an event again soon, without end; requeued at the source it would lose its place in the order."""
        self._stats.requeued += 1
        self._delay(event, self._requeues.next())

    def retry_here(self, event: ReceivedEvent, delay: float) -> None:
        """Handle an event again after `delay` seconds, for a source that cannot delay it."""
        self._stats.retried += 1
        self._delay(event, delay)

    def _delay(self, event: ReceivedEvent, delay: float) -> None:
        event.busy = False
        if event not in self._open or event.revoked:
            self.forget(event)
            return
        event.attempt += 1
        event.redelivered = True
        self._delayed[event] = timer = asyncio.get_running_loop().call_later(delay, self._retry, event)
        if self._ending:
            timer.cancel()

    def _retry(self, event: ReceivedEvent) -> None:
        del self._delayed[event]
        self._queue.retry(event)

    async def settle(self, event: ReceivedEvent, disposition: Disposition) -> None:
        """Requeue, retry or dead-letter an event at its source; tries until that succeeds or the feed has ended.

        An event whose retry or requeue fails for a reason that no wait removes becomes a dead letter.
        """
        backoff, unknown = Backoff(0.1, 5.0), 0
        if disposition.kind == REQUEUE:
            await asyncio.sleep(self._requeues.next())
        while event in self._open:
            try:
                async with asyncio.timeout(self._source.timeout):
                    await self._settle_once(event, disposition)
            except Exception as error:
                verb, why = disposition.kind.replace("_", "-"), self._why(error)
                if event in self._open:
                    self._unsettled.add(event, self._source.name, verb, why)
                self._suspect = True
                self._room_made.set()
                unknown += classify(error) is None
                if unknown == MOST_UNKNOWN:
                    disposition = Disposition(DEAD_LETTER, reason=f"{verb} is not possible: {why}")
                await asyncio.sleep(backoff.next())
            else:
                self._close(event)
                self._queue.done(event)
                return
        self._stats.lost += 1
        self._queue.done(event)

    async def give_up(self, event: ReceivedEvent, reason: str) -> None:
        """Dead-letter an event that is still open."""
        if event in self._open:
            await self.settle(event, Disposition(DEAD_LETTER, reason=reason))

    async def _settle_once(self, event: ReceivedEvent, disposition: Disposition) -> None:
        if disposition.kind == REQUEUE:
            await self._source.requeue(self._feed, event)
            self._stats.requeued += 1
        elif disposition.kind == RETRY:
            await self._source.retry(self._feed, event, disposition.delay)
            self._stats.retried += 1
        else:
            await self._source.dead(self._feed, event, disposition.reason)
            self._stats.add_dead(self._source.redacted(disposition.reason))

    async def send_acks(self) -> None:
        """Send acks as they are added; raises TransientError if the source does not take them."""
        while True:
            await self._acks_added.wait()
            await self.flush()

    async def flush(self) -> None:
        """Send the waiting acks, after those that are being sent.

        Raises TransientError if the source does not take them: their events are delivered again with the next feed.
        """
        async with self._ack_lock:
            acks, self._acks = self._acks, []
            self._acks_added.clear()
            if not acks:
                return
            self._sending_acks = len(acks)
            try:
                async with asyncio.timeout(self._source.timeout):
                    await self._source.ack(self._feed, acks)
            except Exception as error:
                self._stats.lost += len(acks)
                why = str(error) or type(error).__name__
                raise TransientError(f"{len(acks)} acks failed, their events are delivered again: {why}") from error
            self._sending_acks = 0
            self._room_made.set()

    def _close(self, event: ReceivedEvent) -> None:
        self._open.discard(event)
        self._unsettled.done(event, self._source.name)
        self._room_made.set()

    def _why(self, error: Exception) -> str:
        if isinstance(error, TimeoutError) and not str(error):
            return f"no answer within {self._source.timeout:g} s"
        return f"{type(error).__name__}: {error}"

"""Settling: tells the source what became of its events."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from evbus_like.engine.backoff import Backoff
from evbus_like.engine.errors import TransientError
from evbus_like.engine.receiving.disposition import AGAIN, BACK, Disposition
from evbus_like.engine.receiving.keyed_queue import KeyedQueue
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.receiving.source import Source
from evbus_like.engine.receiving.stats import ConsumerStats

log = logging.getLogger("evbus_like.handlers")

REQUEUE_CAP = 1.0  # seconds, at most, before an event goes back to a source that would give it again at once


class Settler:
    """The events of one feed that are not settled yet.

    An event of a feed that is gone cannot be settled: the source gives it again, and it is counted as lost. Acks of one
    turn of the loop go to the source together.
    """

    def __init__(self, source: Source, tally: ConsumerStats, turns: KeyedQueue) -> None:
        self._source = source
        self._tally = tally
        self._turns = turns
        self._feed: Any = None
        self._open: set[ReceivedEvent] = set()
        self._held: dict[ReceivedEvent, asyncio.TimerHandle] = {}
        self._acks: list[ReceivedEvent] = []
        self._sent = 0  # acks on their way
        self._sending = asyncio.Lock()
        self._ending = False
        self._doubt = False  # whether the feed may be lost: a verdict was not taken
        self._some_acks = asyncio.Event()
        self._some_room = asyncio.Event()
        self._requeues = Backoff(0.05, REQUEUE_CAP)

    @property
    def feed(self) -> Any:
        """The feed that is subscribed to now; None while there is none."""
        return self._feed

    @property
    def open(self) -> int:
        """How many events are not settled, for all that the source knows."""
        return len(self._open) + len(self._acks) + self._sent

    def begin(self, feed: Any) -> None:
        """Take the events of this feed from now on."""
        self._feed = feed
        self._ending = self._doubt = False

    def hold_on(self) -> None:
        """Give no event another turn: the feed is about to end."""
        self._ending = True
        for timer in self._held.values():
            timer.cancel()

    def end(self) -> None:
        """Forget the feed: what is open comes again."""
        self._feed = None
        for event, timer in self._held.items():
            timer.cancel()
            self._turns.done(event)
        self._held.clear()
        self._open.clear()
        self._sent = 0
        self._tally.lost += len(self._acks)
        self._acks.clear()

    def take(self, event: ReceivedEvent) -> None:
        """Note an event that was received."""
        self._open.add(event)

    async def room(self, most: int) -> None:
        """Wait until less than `most` events are open; raises what the feed was lost by meanwhile.

        Nobody receives while this waits, so nobody else notices a loss, and a verdict that is not taken waits for ever.
        """
        while self.open >= most:
            if self._doubt:
                self._doubt = False
                async with asyncio.timeout(self._source.timeout):
                    await self._source.ack(self._feed, [])
            self._some_room.clear()
            await self._some_room.wait()

    def ack(self, event: ReceivedEvent) -> None:
        """Say that an event is dealt with."""
        self._turns.done(event)
        if event not in self._open:
            self._tally.lost += 1
            return
        self._requeues.reset()
        self._open.discard(event)
        self._acks.append(event)
        self._some_acks.set()

    def forget(self, event: ReceivedEvent) -> None:
        """Note that the source has taken an event back: it comes again, here or elsewhere."""
        self._turns.done(event)
        self._tally.lost += 1
        self._close(event)

    def keep(self, event: ReceivedEvent) -> None:
        """Give an event another turn soon, for ever: given back to the source, it would lose its place in its order."""
        self._tally.requeued += 1
        self._wait(event, self._requeues.next())

    def hold(self, event: ReceivedEvent, delay: float) -> None:
        """Keep an event here, and let it have another turn after `delay` seconds."""
        self._tally.retried += 1
        self._wait(event, delay)

    def _wait(self, event: ReceivedEvent, delay: float) -> None:
        event.busy = False
        if event not in self._open or event.revoked:
            self.forget(event)
            return
        event.attempt += 1
        event.redelivered = True
        self._held[event] = timer = asyncio.get_running_loop().call_later(delay, self._again, event)
        if self._ending:
            timer.cancel()

    def _again(self, event: ReceivedEvent) -> None:
        del self._held[event]
        self._turns.again(event)

    async def insist(self, event: ReceivedEvent, disposition: Disposition) -> None:
        """Give an event back or away, again and again until the source has taken it or its feed is gone."""
        backoff = Backoff(0.1, 5.0)
        if disposition.kind == BACK:
            await asyncio.sleep(self._requeues.next())
        while event in self._open:
            try:
                async with asyncio.timeout(self._source.timeout):
                    await self._tell(event, disposition)
            except Exception as error:
                log.warning("%s did not take %s back: %s: %s", self._source.name, event, type(error).__name__, error)
                self._doubt = True
                self._some_room.set()
                await asyncio.sleep(backoff.next())
            else:
                self._close(event)
                self._turns.done(event)
                return
        self._tally.lost += 1
        self._turns.done(event)

    async def _tell(self, event: ReceivedEvent, disposition: Disposition) -> None:
        if disposition.kind == BACK:
            await self._source.requeue(self._feed, event)
            self._tally.requeued += 1
        elif disposition.kind == AGAIN:
            await self._source.retry(self._feed, event, disposition.delay)
            self._tally.retried += 1
        else:
            await self._source.dead(self._feed, event, disposition.reason)
            self._tally.dead += 1

    async def send_acks(self) -> None:
        """Send acks as they come; raises TransientError where the source does not take them."""
        while True:
            await self._some_acks.wait()
            await self.flush()

    async def flush(self) -> None:
        """Send the acks that wait, after those that are on their way.

        Raises TransientError where the source does not take them: their events come again when the feed has ended.
        """
        async with self._sending:
            acks, self._acks = self._acks, []
            self._some_acks.clear()
            if not acks:
                return
            self._sent = len(acks)
            try:
                async with asyncio.timeout(self._source.timeout):
                    await self._source.ack(self._feed, acks)
            except Exception as error:
                self._tally.lost += len(acks)
                why = str(error) or type(error).__name__
                raise TransientError(f"{len(acks)} acks were not taken, their events come again: {why}") from error
            self._sent = 0
            self._some_room.set()

    def _close(self, event: ReceivedEvent) -> None:
        self._open.discard(event)
        self._some_room.set()

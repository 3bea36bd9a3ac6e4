"""A consumer: receives the events of one handler from one source, and settles them when the handler is done."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from evbus_like.engine.backoff import Backoff
from evbus_like.engine.errors import DestinationRefused
from evbus_like.engine.receiving.dedup import DedupWindow
from evbus_like.engine.receiving.disposition import ACK, AGAIN, BACK, DONE, LEAVE, Disposition
from evbus_like.engine.receiving.invoker import Caller
from evbus_like.engine.receiving.keyed_queue import KeyedQueue
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.receiving.settlement import Settler
from evbus_like.engine.receiving.source import Source
from evbus_like.engine.receiving.stats import ConsumerStats
from evbus_like.engine.receiving.subscription import Subscription

log = logging.getLogger("evbus_like.handlers")

RETRY_CAP = 5.0  # seconds, at most, between two tries at a source that is lost
REFUSED_CAP = 30.0  # the same for one that refuses
GRACE = 2.0  # seconds for what was cancelled to end


class Consumer:
    """One handler on one source.

    `max_workers` tasks call the handler; events that were received and are not settled are bounded by the
    subscription's prefetch. A source that is absent or lost is tried again for ever. `shut_down` is called with a
    reason where the handler wants the worker to end.
    """

    def __init__(
        self,
        caller: Caller,
        source: Source,
        subscription: Subscription,
        shut_down: Callable[[str], None],
        window: DedupWindow | None = None,
    ) -> None:
        self.caller = caller
        self.source = source
        self.subscription = subscription
        self.name = f"{caller.handler.ref} on {source.name}"
        self.tally = ConsumerStats()
        self.subscribed = asyncio.Event()
        self._shut_down = shut_down
        self._turns = KeyedQueue(self._hire)
        self._settling = Settler(source, self.tally, self._turns)
        self._window = window or (DedupWindow(caller.options.dedup) if caller.options.dedup else None)
        self._workers: set[asyncio.Task[None]] = set()
        self._late: set[asyncio.Task[None]] = set()  # settle events whose verdicts came later
        self._busy = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopping = asyncio.Event()

    @property
    def feed(self) -> Any:
        """What the source gave for the subscription under way; None while there is none."""
        return self._settling.feed

    @property
    def busy(self) -> int:
        """How many events have begun to be handled, and have no verdict yet."""
        return self._busy

    async def run(self) -> None:
        """Receive until `stop`, and then until the handlers that have begun are done."""
        backoff = Backoff(0.1, RETRY_CAP)
        try:
            while not self._stopping.is_set():
                try:
                    await self._feed(backoff)
                except Exception as error:
                    self._lost(error)
                    backoff.cap = REFUSED_CAP if isinstance(error, DestinationRefused) else RETRY_CAP
                    with suppress(TimeoutError):
                        async with asyncio.timeout(backoff.next()):
                            await self._stopping.wait()
        finally:
            self.tally.state = "closed"
            self.caller.closing = True
            if await _cancelled(*self._workers, *self._late):
                log.warning("%s: the function does not let itself be cancelled, and is left to itself", self.name)
            self.caller.close()

    def stop(self) -> None:
        """Receive nothing more; `run` ends when the handlers that have begun are done."""
        self._stopping.set()

    async def _feed(self, backoff: Backoff) -> None:
        """Subscribe, receive until the feed is lost or `stop` is called, and end the feed."""
        subscribing = asyncio.create_task(self._subscribe(), name=f"evbus_like subscribe {self.name}")
        await self._until_stop(subscribing)
        if await _cancelled(subscribing) or subscribing.cancelled():
            return
        feed, now = subscribing.result(), asyncio.get_running_loop().time
        begun = now()
        self._opened()
        self._settling.begin(feed)
        pump = asyncio.create_task(self._receive(feed, backoff), name=f"evbus_like receive {self.name}")
        acker = asyncio.create_task(self._settling.send_acks(), name=f"evbus_like acks {self.name}")
        try:
            await self._until_stop(pump, acker)
            await _cancelled(pump)
            for task in (pump, acker):
                if task.done() and not task.cancelled():
                    task.result()
            await self._finish()
        finally:
            self._settling.end()
            self._turns.clear()
            await _cancelled(pump, acker)
            await self._unsubscribe(feed)
            if now() - begun > backoff.cap:
                backoff.reset()

    async def _subscribe(self) -> Any:
        async with asyncio.timeout(self.source.timeout):
            return await self.source.subscribe(self.subscription)

    async def _unsubscribe(self, feed: Any) -> None:
        task = asyncio.current_task()
        late = task is not None and task.cancelling()  # a stop that is beyond its timeout
        with suppress(Exception):
            async with asyncio.timeout(GRACE if late else self.source.timeout):
                await self.source.unsubscribe(feed)

    async def _until_stop(self, *tasks: asyncio.Task[Any]) -> None:
        """Wait until one of the tasks ends, or `stop` is called."""
        stopping = asyncio.create_task(self._stopping.wait(), name=f"evbus_like stop {self.name}")
        try:
            await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            for task in tasks:
                task.cancel()
            raise
        finally:
            stopping.cancel()

    async def _finish(self) -> None:
        """Wait for the handlers that have begun, and tell the source of them."""
        self._turns.clear()
        self._settling.hold_on()
        await self._idle.wait()
        await self._settling.flush()

    async def _receive(self, feed: Any, backoff: Backoff) -> None:
        """Take events in while there is room for more."""
        receive, settling, add = self.source.receive, self._settling, self._turns.add
        tally, prefetch = self.tally, self.subscription.prefetch
        while True:
            events = await receive(feed)
            if not events:  # against the contract; a source that does so must not hold up the loop
                await asyncio.sleep(0.01)
            backoff.reset()
            tally.received += len(events)
            for event in events:
                settling.take(event)
                add(event)
            if settling.open >= prefetch:
                await settling.room(prefetch)

    def _hire(self) -> None:
        """Have one worker more, up to the handler's bound: an event waits, and all workers are busy."""
        if len(self._workers) < self.caller.options.max_workers and not self.caller.closing:
            self._workers.add(asyncio.create_task(self._work(), name=f"evbus_like handle {self.name}"))

    async def _work(self) -> None:
        """Handle one event after another."""
        while not self.caller.closing:
            event = await self._turns.next()
            self._busy += 1
            self._idle.clear()
            try:
                await self._handle(event)
            except Exception:
                log.exception("%s could not settle %s", self.name, event)
            finally:
                self._ended()

    def _ended(self) -> None:
        self._busy -= 1
        if not self._busy:
            self._idle.set()

    async def _handle(self, event: ReceivedEvent) -> None:
        window = self._window if event.id else None  # an event without an id repeats none
        if window is None:
            await self._call(event)
            return
        async with window.alone(event.id):
            if window.has(event.id) and not event.revoked:
                self.tally.repeats += 1
                self._settling.ack(event)
            elif not self._stopping.is_set():  # it may have waited for another of its id
                await self._call(event, window)

    async def _call(self, event: ReceivedEvent, window: DedupWindow | None = None) -> None:
        if event.revoked:
            self._settling.forget(event)
            return
        event.busy = True
        disposition = await self.caller.call(event)
        if disposition.until is not None:
            self._busy += 1
            disposition.until.add_done_callback(partial(self._decided, event))
            return
        self._count(disposition)
        if disposition.kind == ACK:
            if window is not None:
                await window.add(event.id)
            self._settling.ack(event)
            return
        await self._settle(event, disposition)

    def _count(self, disposition: Disposition) -> None:
        if disposition is DONE:
            self.tally.handled += 1
        else:
            self.tally.failed += 1

    def _decided(self, event: ReceivedEvent, until: asyncio.Future[Disposition]) -> None:
        """Settle an event whose verdict came after its worker had gone on."""
        disposition = until.result()
        if disposition is DONE:
            self._count(disposition)
            self._settling.ack(event)
            self._ended()
        elif self.caller.closing:
            self._settling.forget(event)
            self._ended()
        else:
            self._count(disposition)
            task = asyncio.create_task(self._settle(event, disposition), name=f"evbus_like settle {self.name}")
            self._late.add(task)
            task.add_done_callback(self._settled_late)

    def _settled_late(self, task: asyncio.Task[None]) -> None:
        self._late.discard(task)
        self._ended()
        if not task.cancelled() and (error := task.exception()):
            log.error("%s could not settle an event", self.name, exc_info=error)

    async def _settle(self, event: ReceivedEvent, disposition: Disposition) -> None:
        if disposition.kind == LEAVE:
            self._shut_down(f"{self.caller.handler.ref} failed, and its on_error is SHUTDOWN: {disposition.reason}")
        elif disposition.kind == AGAIN and not self.source.retries:
            self._settling.hold(event, disposition.delay)
        elif disposition.kind == BACK and event.order is not None:
            self._settling.keep(event)
        else:
            await self._settling.insist(event, disposition)

    def _opened(self) -> None:
        if self.tally.trouble:
            log.warning("%s receives again", self.name)
        self.tally.state, self.tally.trouble = "open", ""
        self.subscribed.set()

    def _lost(self, error: Exception) -> None:
        text = str(error) or type(error).__name__
        if isinstance(error, TimeoutError) and not str(error):
            text = f"no answer within {self.source.timeout:g} s"
        if text != self.tally.trouble:
            log.warning("%s receives nothing, trying again: %s", self.name, text)
        self.tally.state = "refused" if isinstance(error, DestinationRefused) else "retrying"
        self.tally.trouble = text


async def _cancelled(*tasks: asyncio.Task[Any]) -> bool:
    """Cancel tasks and wait a while for their end; whether one of them still goes on."""
    for task in tasks:
        task.cancel()
    if not tasks:
        return False
    done, going = await asyncio.wait(tasks, timeout=GRACE)
    for task in done:
        if not task.cancelled():
            task.exception()  # looked at, so that asyncio does not complain
    return bool(going)

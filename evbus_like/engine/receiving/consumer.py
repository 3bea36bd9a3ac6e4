"""A consumer subscribes to its source, again and again, until it is stopped; its worker pool handles the events."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from evbus_like.engine.backoff import Backoff
from evbus_like.engine.errors import DestinationRefused
from evbus_like.engine.rate import Bucket
from evbus_like.engine.receiving.breaker import CLOSED
from evbus_like.engine.receiving.dedup import DedupWindow
from evbus_like.engine.receiving.invoker import Invoker
from evbus_like.engine.receiving.pool import WorkerPool
from evbus_like.engine.receiving.source import Feed, Source
from evbus_like.engine.receiving.subscription import Subscription
from evbus_like.engine.waiting import GRACE, end_tasks

log = logging.getLogger("evbus_like.handlers")

RETRY_CAP = 5.0  # seconds, at most, between two attempts to reach a lost source
REFUSED_CAP = 30.0  # the same for a source that refuses


class Consumer:
    """One invoker on one source.

    The subscription's prefetch bounds the events that are received and not settled. A source that is absent or lost is
    tried again forever. `shut_down` is called with a reason if an event's disposition is SHUTDOWN.
    """

    def __init__(
        self,
        invoker: Invoker,
        source: Source,
        subscription: Subscription,
        shut_down: Callable[[str], None],
        dedup: DedupWindow | None = None,
        bucket: Bucket | None = None,
        pool: type[WorkerPool] = WorkerPool,
    ) -> None:
        self.invoker = invoker
        self.source = source
        self.subscription = subscription
        self.name = f"{invoker.handler.ref} on {source.name}"
        self.subscribed = asyncio.Event()  # set while there is a feed
        self.pool = pool(self.name, invoker, source, shut_down, dedup, bucket)
        self.stats, self.running = self.pool.stats, self.pool.running
        self._leave = asyncio.Event()  # set when the feed is to end, because of `stop` or `renew`
        self._stopping = False
        self._paused = ""  # why it receives nothing for now, because an operator says so
        self._next = source  # from which the next feed comes
        self._renewal: asyncio.Future[None] | None = None
        self._within = 0.0  # seconds that handlers under way have when the feed ends for a renewal
        self.before_leaving: Callable[[], Awaitable[None]] | None = None  # is awaited before a renewal ends the feed

    @property
    def state(self) -> str:
        """The state of its source, `tripped` where that is open and the breaker is, too."""
        breaker = self.pool.breaker
        tripped = breaker is not None and breaker.state != CLOSED and self.stats.state == "open"
        return "tripped" if tripped else self.stats.state

    @property
    def trouble(self) -> str:
        """What is wrong, in words; nothing where all is well."""
        breaker = self.pool.breaker
        return self.stats.trouble or (breaker.text if breaker is not None else "")

    @property
    def feed(self) -> Feed:
        """What the source returned for the current subscription; None while there is none."""
        return self.pool.settler.feed

    @property
    def busy(self) -> int:
        """The number of events that are being handled."""
        return self.pool.busy

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
            await self.pool.close()

    def stop(self) -> None:
        """Receive no more events; `run` returns when those that are being handled are done."""
        self._stopping = self.pool.stopping = True
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
        if await end_tasks(subscribing) or subscribing.cancelled():
            return
        feed, now = subscribing.result(), asyncio.get_running_loop().time
        begun = now()
        self.pool.begin(feed, source)
        self._opened()
        received = self.pool.receive(feed, self.subscription.prefetch, backoff)
        receiving = asyncio.create_task(received, name=f"evbus_like receive {self.name}")
        acking = asyncio.create_task(self.pool.settler.send_acks(), name=f"evbus_like acks {self.name}")
        try:
            await self._until_stop(receiving, acking)
            renews = self._leave.is_set() and not self._stopping and not self._paused
            deadline = await self._left() if renews else None
            await end_tasks(receiving)
            for task in (receiving, acking):
                if task.done() and not task.cancelled():
                    task.result()
            await (self.pool.finish() if deadline is None else self._finish_until(deadline))
        finally:
            self.subscribed.clear()
            self.pool.end()
            await end_tasks(receiving, acking)
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
                await self.pool.finish()
        except TimeoutError:
            log.warning(
                "%s reconnects while %d events are handled, for they took longer than %g s; they are delivered again",
                self.name,
                self.busy,
                self._within,
            )

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

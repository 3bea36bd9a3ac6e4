"""A group: all consumers of a worker, started and stopped together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol

from evbus_like.engine.errors import HandlerShutdown, LifecycleError
from evbus_like.engine.receiving.consumer import Consumer
from evbus_like.engine.waiting import GRACE, run_in_loop

log = logging.getLogger("evbus_like.handlers")


class Inboxes(Protocol):
    """The inboxes of a group's handlers."""

    def stopping(self) -> None:
        """Begin no transaction again that could not be begun."""

    async def close(self) -> None:
        """Close the connections; raises nothing."""


class Group:
    """The consumers of one start; `shut_down` is what a handler whose error ends the worker calls."""

    def __init__(self) -> None:
        self.consumers: Sequence[Consumer] = ()
        self.follows_pauses = False  # whether `evbus pause` stops its handlers
        self.follows_reload = True  # whether its profiles are those of the bus
        self.inboxes: Inboxes | None = None
        self.reason = ""
        self._ended = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.loop: asyncio.AbstractEventLoop | None = None

    def start(self, consumers: Sequence[Consumer]) -> None:
        """Begin to receive; a source that is absent is waited for."""
        self.consumers = consumers
        self.loop = asyncio.get_running_loop()
        self._tasks = [asyncio.create_task(each.run(), name=f"evbus_like {each.name}") for each in consumers]

    def shut_down(self, reason: str) -> None:
        """Let `ended` raise."""
        if not self.reason:
            self.reason = reason
            log.error("the worker stops: %s", reason)
        self._ended.set()

    async def subscribed(self, timeout: float) -> None:
        """Wait until every consumer has subscribed once; raises TimeoutError that names those that have not."""
        try:
            async with asyncio.timeout(timeout):
                for consumer in self.consumers:
                    await consumer.subscribed.wait()
        except TimeoutError:
            late = [f"{each.name}: {each.stats.trouble or 'no answer'}" for each in self.consumers]
            waiting = [text for text, each in zip(late, self.consumers, strict=True) if not each.subscribed.is_set()]
            raise TimeoutError(f"not subscribed within {timeout:g} s: {'; '.join(waiting)}") from None

    async def ended(self) -> None:
        """Wait until the group ends: returns after `stop`, raises HandlerShutdown where a handler ended the worker."""
        await self._ended.wait()
        if self.reason:
            raise HandlerShutdown(self.reason)

    async def stop(self, timeout: float) -> None:
        """Receive nothing more, and give handlers `timeout` seconds; what they have not done comes again.

        It may be called again while it is under way. What does not end by itself gets a few seconds more, and is left.
        """
        if self.loop is not None and self.loop is not asyncio.get_running_loop():
            with suppress(LifecycleError):  # the loop is closed, and everything in it has ended
                await run_in_loop(
                    self.stop(timeout),
                    self.loop,
                    timeout + 5 * GRACE,
                    blocked=TimeoutError("the worker's event loop did not answer; is it blocked?"),
                    closed=LifecycleError("the worker's event loop is closed"),
                )
            return
        for consumer in self.consumers:
            consumer.stop()
        if self.inboxes is not None:
            self.inboxes.stopping()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=timeout)
            for task in late:
                log.warning(
                    "%s: a handler did not end within %g s (setting stop_timeout); its event comes again",
                    task.get_name(),
                    timeout,
                )
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=3 * GRACE)
        for source in {id(each.source): each.source for each in self.consumers}.values():
            with suppress(Exception):
                async with asyncio.timeout(max(GRACE, timeout)):
                    await source.close()
        if self.inboxes is not None:
            await self.inboxes.close()
        self._ended.set()

    def status(self) -> dict[str, Any]:
        """Give the counts and states of all consumers, by source and queue, as plain data."""
        facts: dict[str, Any] = {}
        for each in self.consumers:
            name, handler = f"{each.source.name} {each.subscription.queue}", each.invoker.handler
            facts[f"{name} ({handler.service}.{handler.name})" if name in facts else name] = _facts(each)
        return facts


def _facts(consumer: Consumer) -> dict[str, Any]:
    handler, subscription = consumer.invoker.handler, consumer.subscription
    return {
        "handler": f"{handler.service}.{handler.name}",
        "source": consumer.source.name,
        "delivery": subscription.delivery,
        "shards": subscription.shards,
        "inbox": consumer.invoker.options.inbox,
        "reads": list(getattr(consumer.feed, "shards", ())),
        "busy": consumer.busy,
        "lag": getattr(consumer.feed, "lag", None),
        **consumer.stats.as_dict(),
        "state": consumer.state,
        "trouble": consumer.trouble,
        "running": consumer.running.as_dict(),
    }

"""Binds the queues of open feeds again, now and then, and counts what is in them.

An exchange that is deleted takes its bindings with it. RabbitMQ tells a consumer that its queue was deleted, but not
that its bindings are gone. The next publisher declares the exchange anew, without them, and its events would vanish.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import aiormq.exceptions as aiormq

from evbus_like.amqp import failures, shards, topology
from evbus_like.amqp.feed import Feed
from evbus_like.amqp.sharded_feed import ShardedFeed
from evbus_like.amqp.shared_connection import SharedConnection

log = logging.getLogger("evbus_like.handlers")

EVERY = 5.0  # seconds between two rounds, each one question for each event type of each handler, and for its queue
ANSWER = 60.0  # seconds for RabbitMQ to answer


class Bindings:
    """Keeps the bindings of the feeds of one profile; a binding that exists is left as it is."""

    def __init__(self, connection: SharedConnection, acct: Mapping[str, Any]) -> None:
        self._connection = connection
        self._acct = acct
        self._feeds: list[Feed | ShardedFeed] = []
        self._task: asyncio.Task[None] | None = None
        self._reported: dict[str, str] = {}  # the last problem of each queue

    def keep(self, feed: Feed | ShardedFeed) -> None:
        """Keep the bindings of a feed as long as it is open."""
        self._feeds = [each for each in self._feeds if each.is_open] + [feed]
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"evbus_like bindings {self._connection.place}")

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(EVERY)
            for feed in self._feeds:
                if feed.is_open:
                    await self._check(feed)

    async def _check(self, feed: Feed | ShardedFeed) -> None:
        """Bind one feed's queue; a problem is logged once, and what is in the queue is handled all the same."""
        queue = feed.subscription.queue
        try:
            await self._bind(feed)
        except Exception as error:  # whatever it is, the next round tries again
            problem = failures.text(error)
            if feed.is_open and self._reported.get(queue) != problem:  # else the consumer says what is wrong
                log.warning("the bindings of the queue %r cannot be checked: %s", queue, problem)
                self._reported[queue] = problem
        else:
            self._reported.pop(queue, None)

    async def _bind(self, feed: Feed | ShardedFeed) -> None:
        subscription, missing = feed.subscription, ""
        async with asyncio.timeout(ANSWER), self._connection.channel() as channel:
            try:
                if isinstance(feed, ShardedFeed):
                    await feed.bind(channel)
                    await shards.bind_again(channel, self._acct, subscription, feed.known)
                else:
                    await topology.bind(channel, self._acct, subscription)
                await feed.look(channel)
                await channel.close()
            except aiormq.ChannelNotFoundEntity as error:
                missing = failures.text(error)
        if not feed.is_open or "no exchange" not in missing:  # a queue that was deleted is the consumer's business
            return
        log.warning(
            "%s: it is declared and bound to the queue %r again; what was put meanwhile did not reach the queue",
            *(missing, subscription.queue),
        )
        async with asyncio.timeout(ANSWER):
            if isinstance(feed, ShardedFeed):
                await shards.declare(self._connection, self._acct, subscription)
                return
            async with self._connection.channel() as channel:
                await topology.declare_subscription(channel, self._acct, subscription)
                await channel.close()

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

"""The live stream: the status document every second, made once for all who follow."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable

from evbus_like.monitor.document import Status

log = logging.getLogger("evbus_like.http")

EVERY = 1.0  # seconds between two documents
MOST = 100  # followers
WITHIN = 10.0  # seconds that a follower may take for one document
BEGIN = b"retry: 2000\n\n"  # milliseconds after which a browser comes back


class Stream:
    """Sends server-sent events; each follower gets the newest document when it has taken the one before.

    So one that is slow misses some, and what it has not taken is one document and the buffer of its connection. One
    that takes nothing for too long is dropped, and counted.
    """

    def __init__(self, status: Callable[[], Awaitable[Status]]) -> None:
        self._status = status
        self._message = b""
        self._next = asyncio.Event()  # set when there is the next document; each has an event of its own
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self.following = 0
        self.dropped = 0

    async def follow(self, write: Callable[[bytes], Awaitable[None]]) -> None:
        """Send until the follower goes, or the stream is closed; raises TimeoutError for one that is too slow."""
        self.following += 1
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._publish(), name="evbus_like stream")
        try:
            await self._send(write, BEGIN)
            while not self._closed:
                await self._next.wait()
                if not self._closed:
                    await self._send(write, self._message)
        except TimeoutError:
            self.dropped += 1
            raise
        finally:
            self.following -= 1

    async def _send(self, write: Callable[[bytes], Awaitable[None]], message: bytes) -> None:
        async with asyncio.timeout(WITHIN):
            await write(message)

    async def _publish(self) -> None:
        while self.following and not self._closed:
            try:
                self._message = b"event: status\ndata: " + json.dumps(await self._status()).encode() + b"\n\n"
            except Exception:
                log.exception("the status could not be streamed")
            else:
                self._wake()
            await asyncio.sleep(EVERY)

    def _wake(self) -> None:
        ready, self._next = self._next, asyncio.Event()
        ready.set()

    async def close(self) -> None:
        """End the stream for all."""
        self._closed = True
        self._wake()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

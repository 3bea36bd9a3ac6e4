"""A Unix socket for this user alone: each connection gets the status document and is closed."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from evbus_like.engine.files import check_folder, make_private
from evbus_like.monitor import folder
from evbus_like.monitor.document import Status

log = logging.getLogger("evbus_like.http")

MOST = 20  # connections at once; more are closed without an answer
WITHIN = 10.0  # seconds for an answer


class LocalSocket:
    """A socket that is there from `start` to `close`."""

    def __init__(self, path: Path, status: Callable[[], Awaitable[Status]]) -> None:
        self._path = path
        self._status = status
        self._server: asyncio.Server | None = None
        self._answering: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen; raises OSError."""
        make_private(self._path.parent)
        check_folder(self._path.parent)
        folder.remove_dead(self._path.parent)
        made = socket.socket(socket.AF_UNIX)
        new = self._path.with_name(f".{self._path.name}")  # gets its name when it listens: else it would look dead
        try:
            new.unlink(missing_ok=True)
            with folder.address(new) as where:
                made.bind(where)
            os.chmod(new, 0o600)
            self._server = await asyncio.start_unix_server(self._connected, sock=made)
            os.replace(new, self._path)
        except BaseException:
            made.close()
            new.unlink(missing_ok=True)
            raise

    async def close(self) -> None:
        """Remove the socket, and end the answers under way."""
        server, self._server = self._server, None
        if server is None:
            return
        self._path.unlink(missing_ok=True)
        server.close()
        for task in self._answering:
            task.cancel()
        await asyncio.gather(*self._answering, return_exceptions=True)

    def _connected(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._answering) >= MOST:
            writer.transport.abort()
            return
        task = asyncio.create_task(self._answer(writer), name="evbus_like status")
        self._answering.add(task)

        def ended(task: asyncio.Task[None]) -> None:  # also of one that was cancelled before it began
            self._answering.discard(task)
            writer.transport.abort()

        task.add_done_callback(ended)

    async def _answer(self, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(WITHIN):
                    writer.write(json.dumps(await self._status()).encode() + b"\n")
                    await writer.drain()
                    writer.close()
                    await writer.wait_closed()
        except Exception:
            log.exception("the status could not be written")

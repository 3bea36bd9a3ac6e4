"""Lines of files and pipes, read without blocking the event loop and without reading ahead."""

from __future__ import annotations

import asyncio
import errno
import os
import sys
from collections.abc import AsyncIterator

CHUNK = 256 * 1024
MAX_LINE = 64 * 1024 * 1024


async def read(path: str, stopped: asyncio.Event) -> AsyncIterator[tuple[int, bytes | None]]:
    """Yield (number, line) until the end or until `stopped` is set; a line beyond 64 MiB is yielded as None.

    `path` "-" is standard input. Raises OSError.
    """
    if path == "-":
        if sys.stdin is None:
            raise OSError(errno.EBADF, "it is closed")
        async for numbered in _lines(sys.stdin.fileno(), stopped):
            yield numbered
        return
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a FIFO without a writer would block the process
    try:
        async for numbered in _lines(fd, stopped):
            yield numbered
    finally:
        os.close(fd)


async def content(path: str, stopped: asyncio.Event) -> bytes:
    """Return a whole file or standard input, or what came until `stopped` was set; raises OSError."""
    return b"\n".join([line or b"" async for _, line in read(path, stopped)])


async def _lines(fd: int, stopped: asyncio.Event) -> AsyncIterator[tuple[int, bytes | None]]:
    number, size, too_long = 0, 0, False
    parts: list[bytes] = []  # of a line whose end is still to come; joined once, because lines may be long
    async for chunk in _chunks(fd, stopped):
        for index, piece in enumerate(chunk.split(b"\n")):
            if index:
                number += 1
                yield number, None if too_long or size > MAX_LINE else b"".join(parts)
                parts, size, too_long = [], 0, False
            parts.append(piece)
            size += len(piece)
        if size > MAX_LINE:
            parts, size, too_long = [], 0, True
    if size or too_long:
        yield number + 1, None if too_long else b"".join(parts)


async def _chunks(fd: int, stopped: asyncio.Event) -> AsyncIterator[bytes]:
    while not stopped.is_set():
        await _readable(fd, stopped)
        if stopped.is_set():
            return
        try:
            chunk = os.read(fd, CHUNK)
        except BlockingIOError:
            continue
        if not chunk:
            return
        yield chunk


async def _readable(fd: int, stopped: asyncio.Event) -> None:
    """Wait until a read would not block, or until stopped."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    try:
        loop.add_reader(fd, readable.set)  # pipes, terminals
    except PermissionError:
        return  # a regular file: always readable
    try:
        await _first(readable, stopped)
    finally:
        loop.remove_reader(fd)


async def _first(*events: asyncio.Event) -> None:
    tasks = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()

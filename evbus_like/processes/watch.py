"""Watch a file that others replace, such as a mounted secret."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

log = logging.getLogger("evbus_like.processes")

EVERY = 2.0  # seconds between two looks
Signature = tuple[int, int, int, int]


@asynccontextmanager
async def watching(path: str | None, changed: Callable[[], object], every: float = EVERY) -> AsyncIterator[None]:
    """Call `changed` whenever the file is another one, or has another content, until the block ends; None: no file.

    It looks at the file, through links, instead of waiting for the kernel's notices: those do not come from network
    file systems nor from some mounts of containers, and a secret of Kubernetes is replaced by a link in a folder above.
    A file that is gone is waited for. One that is being written is given until two looks find the same.
    """
    task = None if path is None else asyncio.create_task(_watch(path, changed, every), name=f"evbus_like watch {path}")
    try:
        yield
    finally:
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _watch(path: str, changed: Callable[[], object], every: float) -> None:
    known = last = signature(path)
    while True:
        await asyncio.sleep(every)
        now = await asyncio.to_thread(signature, path)
        if now is not None and now == last and now != known:
            known = now
            log.warning("the file %s has changed", path)
            changed()
        last = now


def signature(path: str) -> Signature | None:
    """Return what tells a file from the one that was there before; None if there is none."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size

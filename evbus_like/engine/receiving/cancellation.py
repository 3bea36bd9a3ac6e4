"""A task that goes on after what it called has cancelled it."""

from __future__ import annotations

import asyncio
from contextlib import suppress


async def calm() -> None:
    """Undo what a function did that cancelled the task it runs in: the task has other events to handle."""
    task = asyncio.current_task()
    if task is None or not task.cancelling():
        return
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(0)  # where the cancelling is still to come
    while task.cancelling():
        task.uncancel()

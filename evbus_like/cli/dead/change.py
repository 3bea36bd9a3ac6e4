"""Open the outbox to change its dead letters."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from evbus_like.cli import file
from evbus_like.engine.outbox import Outbox


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Outbox]:
    """Yield the open outbox; raises OutboxLocked that says what to do, and StorageError."""
    box = Outbox(path)
    with file.changing(path):
        recovered = await asyncio.to_thread(box.open)
    if recovered is not None:
        print(f"evbus: {recovered}", file=sys.stderr)
    try:
        yield box
    finally:
        await box.close()


def parts(numbers: Sequence[int], most: int) -> Iterator[Sequence[int]]:
    """Yield the numbers in parts of a size that suits a transaction."""
    for start in range(0, len(numbers), most):
        yield numbers[start : start + most]

"""Handles events in worker processes: each burns CPU time, then adds a byte to a file, which the leg watches."""

import asyncio
import os
from pathlib import Path
from time import thread_time

import evbus_like.handlers as evbus

BURN = float(os.environ.get("BENCH_BURN", "0")) / 1000  # seconds
GATE = Path(os.environ.get("BENCH_GATE", ""))
HANDLED = os.open(os.environ.get("BENCH_HANDLED", os.devnull), os.O_WRONLY | os.O_APPEND | os.O_CREAT)


class Start:
    """Whether all workers receive."""

    seen = False


async def _wait_for_start():
    while not GATE.exists():  # noqa: ASYNC110, ASYNC240 - a file tells of nothing
        await asyncio.sleep(0.005)
    Start.seen = True


@evbus.handler("bench", "bench", prefetch=100)
async def work(hub, event):
    if not Start.seen:
        await _wait_for_start()
    end = thread_time() + BURN
    while thread_time() < end:
        pass
    os.write(HANDLED, b".")

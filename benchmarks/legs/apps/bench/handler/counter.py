"""Counts events."""

import asyncio
import os

import evbus_like.handlers as evbus


class Counter:
    """How many were seen; `done` is set with the last one wanted."""

    seen = wanted = 0
    done = None


def expect(hub, count):
    """Give the counter, whose `done` is set when so many have come."""
    Counter.wanted, Counter.done = count, asyncio.Event()
    return Counter


@evbus.handler("bench", "bench", prefetch=1000, since=os.environ.get("BENCH_SINCE"))
async def count(hub, event):
    Counter.seen += 1
    if Counter.seen == Counter.wanted:
        Counter.done.set()

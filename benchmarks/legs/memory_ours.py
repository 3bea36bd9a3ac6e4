"""In memory, evbus_like: put, routed, serialized, read. `way` is how it is put: bound, full, await or tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from measure import BURST, Clock, bodies, config
from ours import running

TASKS = 100


async def put_bound(hub: Any, stream: Iterator[Any], burst: int) -> None:
    """Look put_nowait up once."""
    put = hub.evbus.broker.put_nowait
    left = burst
    for body in stream:
        put("bench", body)
        left -= 1
        if not left:
            left = burst
            await asyncio.sleep(0)


async def put_full(hub: Any, stream: Iterator[Any], burst: int) -> None:
    """Say the whole of it each time, as an application does."""
    left = burst
    for body in stream:
        hub.evbus.broker.put_nowait(routing_key="bench", body=body, profile="default")
        left -= 1
        if not left:
            left = burst
            await asyncio.sleep(0)


async def put_await(hub: Any, stream: Iterator[Any], burst: int) -> None:
    """Wait until each event is accepted."""
    for body in stream:
        await hub.evbus.broker.put(routing_key="bench", body=body, profile="default")


async def put_tasks(hub: Any, stream: Iterator[Any], burst: int) -> None:
    """Let many tasks put at once, each waiting for its own events."""
    await asyncio.gather(*(put_await(hub, stream, burst) for _ in range(TASKS)))


WAYS = {"bound": put_bound, "full": put_full, "await": put_await, "tasks": put_tasks}


async def main() -> None:
    """Run the leg."""
    asked = config()
    count, put = asked["events"], WAYS[asked["way"]]
    burst = asked.get("burst", BURST)
    async with running({"internal": {"default": None}}) as hub:
        queue = await hub.ingress.internal.get("bench")

        async def read(most: int) -> int:
            size = 0
            for _ in range(most):
                size += len(await queue.get())
            return size

        for warm_up, most in ((True, 5000), (False, count)):
            stream = bodies(asked, most)
            clock = Clock()
            reader = asyncio.create_task(read(most))
            await put(hub, stream, burst)
            size = await reader
            if not warm_up:
                clock.stop(most, bytes=size, left=queue.qsize())


asyncio.run(main())

"""In memory, pop-evbus: put, routed, serialized, read. `way` is how it is put: bound, await or tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from measure import BURST, Clock, bodies, config
from pop_evbus import running

TASKS = 100


async def put_bound(hub: Any, stream: Iterator[Any], burst: int) -> None:
    """Look put_nowait up once."""
    put = hub.evbus.broker.put_nowait
    left = burst
    for body in stream:
        put(body=body)
        left -= 1
        if not left:
            left = burst
            await asyncio.sleep(0)


async def put_await(hub: Any, stream: Iterator[Any], burst: int) -> None:
    """Wait until each event is queued; pop-evbus's queue has no bound, so none of these waits."""
    for body in stream:
        await hub.evbus.broker.put(body=body, profile="default")


async def put_tasks(hub: Any, stream: Iterator[Any], burst: int) -> None:
    """Let many tasks put at once."""
    await asyncio.gather(*(put_await(hub, stream, burst) for _ in range(TASKS)))


WAYS = {"bound": put_bound, "await": put_await, "tasks": put_tasks}


async def main() -> None:
    """Run the leg."""
    asked = config()
    async with running({"internal": {"default": {}}}) as hub:
        queue = await hub.ingress.internal.get()

        async def read(most: int) -> int:
            size = 0
            for _ in range(most):
                size += len(await queue.get())
            return size

        for warm_up, most in ((True, 200), (False, asked["events"])):
            stream = bodies(asked, most)
            clock = Clock()
            reader = asyncio.create_task(read(most))
            await WAYS[asked["way"]](hub, stream, asked.get("burst", BURST))
            size = await reader
            if not warm_up:
                clock.stop(most, bytes=size, left=queue.qsize())


asyncio.run(main())

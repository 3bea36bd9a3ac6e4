"""In memory, evbus_like: put, routed, serialized, read. `way` is how it is put: bound, full, await or tasks.

With `durable` the profile says `outbox: always`: each put returns after the commit, and reading strikes the event off.
With `beside` there is such a profile too, and some 200 events a second for it go on coming while the others are timed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

from measure import BURST, Clock, bodies, config
from ours import outbox, running

from evbus_like.errors import QueueFull

TASKS = 100
WARM_UP = 5000


async def put_bound(hub: Any, stream: Iterator[Any], burst: int) -> None:
    """Look put_nowait up once; where there is no room, wait for it."""
    put = hub.evbus.broker.put_nowait
    left = burst
    for body in stream:
        try:
            put("bench", body)
        except QueueFull:
            await hub.evbus.broker.put("bench", body)
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


@asynccontextmanager
async def putting(hub: Any) -> AsyncIterator[None]:
    """Put durable events meanwhile, each after the commit of the one before."""

    async def put() -> None:
        queue = await hub.ingress.internal.get("beside")
        while True:
            await hub.evbus.broker.put(routing_key="beside", body={"n": 1}, profile="beside")
            while not queue.empty():
                queue.get_nowait()
            await asyncio.sleep(0.005)

    task = asyncio.create_task(put())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def main() -> None:
    """Run the leg."""
    asked = config()
    count, put = asked["events"], WAYS[asked["way"]]
    burst = asked.get("burst", BURST)
    default = {"outbox": "always"} if asked.get("durable") else None
    profiles = {"default": default} | ({"beside": {"outbox": "always"}} if asked.get("beside") else {})
    async with outbox(), running({"internal": profiles}, asked) as hub, AsyncExitStack() as stack:
        if asked.get("beside"):
            await stack.enter_async_context(putting(hub))
        queue = await hub.ingress.internal.get("bench")

        async def read(most: int) -> int:
            size = 0
            for _ in range(most):
                size += len(await queue.get())
            return size

        for warm_up, most in ((True, asked.get("warm_up", WARM_UP)), (False, count)):
            stream = bodies(asked, most)
            clock = Clock()
            reader = asyncio.create_task(read(most))
            await put(hub, stream, burst)
            size = await reader
            if not warm_up:
                clock.stop(most, bytes=size, left=queue.qsize())


asyncio.run(main())

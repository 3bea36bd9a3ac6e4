"""In memory, the bare loop: asyncio.Queue, one listener task, the standard library's json, a second asyncio.Queue."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from measure import BURST, Clock, bodies, config


async def main() -> None:
    """Run the leg."""
    asked = config()
    burst = asked.get("burst", BURST)
    first: asyncio.Queue[Any] = asyncio.Queue()
    second: asyncio.Queue[bytes] = asyncio.Queue()

    async def listen() -> None:
        while True:
            second.put_nowait(json.dumps(await first.get()).encode())

    async def read(most: int) -> int:
        size = 0
        for _ in range(most):
            size += len(await second.get())
        return size

    listener = asyncio.create_task(listen())
    for warm_up, most in ((True, 5000), (False, asked["events"])):
        stream = bodies(asked, most)
        clock = Clock()
        reader = asyncio.create_task(read(most))
        left = burst
        for body in stream:
            first.put_nowait(body)
            left -= 1
            if not left:
                left = burst
                await asyncio.sleep(0)
        size = await reader
        if not warm_up:
            clock.stop(most, bytes=size, left=second.qsize())
    listener.cancel()


asyncio.run(main())

"""Many destinations: `lanes` profiles of a plugin whose batches wait for the loop once, as those to a broker do.

Each event goes to one of them, in turn, or with `all` to all. The time is that of `events` deliveries.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from measure import BURST, Clock, bodies, config, memory
from ours import running

from evbus_like.errors import QueueFull


async def main() -> None:
    """Run the leg."""
    asked = config()
    sys.path.insert(0, str(Path(__file__).parent / "plugins"))
    wide = asked["lanes"]
    names = ["default"] * wide if asked.get("all") else [f"to{number}" for number in range(wide)]
    profiles = {"slow": [{name: {"delay": 0, "number": number}} for number, name in enumerate(names)]}
    before, starting = memory("VmRSS"), Clock()
    async with running(profiles, asked) as hub:
        start = starting.used()
        figures = {"start": start, "memory": memory("VmRSS") - before}
        puts = asked["events"] // wide if asked.get("all") else asked["events"]
        clock = Clock()
        await put_in_turn(hub, bodies(asked, puts), names)
        await emptied(hub)
        clock.stop(asked["events"], **figures)


async def put_in_turn(hub: Any, stream: Any, names: list[str]) -> None:
    """Put events to the profiles, one after the other."""
    put, wide = hub.evbus.broker.put_nowait, len(names)
    for number, body in enumerate(stream):
        try:
            put("bench", body, names[number % wide])
        except QueueFull:
            await hub.evbus.broker.put("bench", body, names[number % wide])
        if not number % BURST:
            await asyncio.sleep(0)


async def emptied(hub: Any) -> None:
    """Wait until everything is delivered."""
    while hub.evbus.BUS.qsize() or any(lane.queue for lane in hub.evbus.RUNTIME.bus.lanes):  # noqa: ASYNC110
        await asyncio.sleep(0.001)


asyncio.run(main())

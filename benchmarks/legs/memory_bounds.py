"""Memory: events are put faster than their destination takes them, so that the queues are full nearly all the time."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from measure import Clock, bodies, config, memory
from ours import delivered, put_all, running

DELAY = 0.01  # seconds for a batch of 1000; a leg may ask for another `delay`
LOOK = 0.02  # seconds between two looks at the memory


async def main() -> None:
    """Run the leg."""
    asked = config()
    count = asked["events"]
    sys.path.insert(0, str(Path(__file__).parent / "plugins"))
    async with running({"slow": {"default": {"delay": asked.get("delay", DELAY)}}}) as hub:
        lane, intake = hub.evbus.RUNTIME.bus.lanes[0], hub.evbus.BUS
        before = memory("VmRSS")
        seen: list[tuple[int, int]] = []  # queued events, resident bytes

        async def look() -> None:
            while True:
                seen.append((len(lane.queue) + intake.qsize(), memory("VmRSS")))
                await asyncio.sleep(LOOK)

        clock = Clock()
        looker = asyncio.create_task(look())
        await put_all(hub, bodies(asked, count))
        await delivered(hub, count)
        looker.cancel()
        over = (memory() - before - lane.options.max_bytes) / 2**20
        clock.stop(count, over=over, **facts(seen, before, lane.options.max_events + intake.maxsize))


def facts(seen: list[tuple[int, int]], before: int, bound: int) -> dict[str, Any]:
    """Work out what the looks at the memory say; growth is from the first third of the full time to the last."""
    most = max(queued for queued, _ in seen)
    full = [(queued, resident) for queued, resident in seen if queued >= 0.9 * most]
    third = max(1, len(full) // 3)
    early, late = max(r for _, r in full[:third]), max(r for _, r in full[-third:])
    return {
        "queued": most,
        "filled": most / bound,
        "per_event": (full[0][1] - before) / full[0][0],
        "growth": late / early - 1,
    }


asyncio.run(main())

"""Many profiles, evbus_like: 100 distinct event profiles, in memory, among `profiles` that a third are globs of.

Each event profile matches one profile. With `spread` the 100 event profiles lead to 100 lanes; without, to ten, which
are the same ten whether there are others or not.
"""

from __future__ import annotations

import asyncio
from typing import Any

from measure import BURST, Clock, bodies, config
from ours import running

NAMES = 100
DATA = {"routing_key": "all"}


def profiles(count: int, spread: bool) -> dict[str, Any]:
    """Make the profiles: exact names and, a third of them, globs."""
    wanted = 67 if spread else 7
    globs = count // 3
    exact = [f"name{n}" if n < wanted else f"other{n}" for n in range(count - globs)]
    return dict.fromkeys([*exact, *(f"glob{n}-*" for n in range(globs))], DATA)


def names(spread: bool) -> list[str]:
    """Give the event profiles: as many as there are exact names that are hit, the rest match globs."""
    exact, globs = (67, 33) if spread else (7, 3)
    return [f"name{n}" if n < exact else f"glob{n % globs}-{n}" for n in range(NAMES)]


async def main() -> None:
    """Run the leg."""
    asked = config()
    spread = asked.get("spread", False)
    event_profiles = names(spread)
    starting = Clock()
    async with running({"internal": profiles(asked["profiles"], spread)}) as hub:
        queue = await hub.ingress.internal.get("all")

        async def read(most: int) -> None:
            for _ in range(most):
                await queue.get()

        put = hub.evbus.broker.put_nowait
        for name in event_profiles:
            put("bench", {}, name)
        await read(NAMES)
        start_seconds = starting.lap()
        clock = Clock()
        reader = asyncio.create_task(read(asked["events"]))
        for n, body in enumerate(bodies(asked, asked["events"])):
            put("bench", body, event_profiles[n % NAMES])
            if not n % BURST:
                await asyncio.sleep(0)
        await reader
        clock.stop(asked["events"], left=queue.qsize(), start_seconds=start_seconds)


asyncio.run(main())

"""The start, pop-evbus: `sub.add("evbus")` till a bus with one in-memory profile runs."""

from __future__ import annotations

import asyncio
import sys

import pop.hub
from measure import Clock


async def main() -> None:
    """Run the leg."""
    hub = pop.hub.Hub()
    clock = Clock()
    hub.pop.sub.add(dyne_name="log")  # without it pop-evbus cannot start
    hub.pop.sub.add(dyne_name="evbus")
    contexts = await hub.evbus.acct.profiles(acct_data={"internal": {"default": {}}})
    listener = asyncio.create_task(hub.evbus.init.start(contexts))
    while not hub.evbus.STARTED:  # noqa: ASYNC110 - its own join does the same, by hub.pop.loop
        await asyncio.sleep(0)
    clock.stop(0, modules=len(sys.modules))
    listener.cancel()


asyncio.run(main())

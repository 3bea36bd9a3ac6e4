"""The start, evbus_like: `sub.add("evbus")` till a bus with one in-memory profile runs."""

from __future__ import annotations

import asyncio
import sys

import pop.hub
from measure import Clock

HEAVY = ("aio_pika", "aiormq", "aiokafka", "confluent_kafka", "pika", "kafka")


async def main() -> None:
    """Run the leg."""
    hub = pop.hub.Hub()
    clock = Clock()
    hub.pop.sub.add(dyne_name="evbus")
    contexts = await hub.evbus.acct.profiles(acct_data={"internal": {"default": {}}})
    listener = asyncio.create_task(hub.evbus.init.start(contexts))
    await hub.evbus.init.join()
    clock.stop(0, heavy=[name for name in HEAVY if name in sys.modules], modules=len(sys.modules))
    await hub.evbus.init.stop()
    await listener


asyncio.run(main())

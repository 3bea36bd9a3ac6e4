"""To RabbitMQ, pop-evbus with evbus-pika: it connects anew for every event, and its messages are not persistent.

It cannot say when an event was confirmed, so the listener is stopped, which it does after the last one.
"""

from __future__ import annotations

import asyncio
from typing import Any

from measure import Clock, bodies, config
from pop_evbus import running

WARM_UP = 5


async def main() -> None:
    """Run the leg."""
    asked = config()
    count = asked["events"]
    profile = {"connection": {"url": asked["amqp_url"]}, "routing_key": asked["queues"][0]}
    async with running({"pika": {"default": profile}}) as hub:
        for body in bodies(asked, WARM_UP):
            await hub.evbus.broker.put(body=body, profile="default")
        await drained(hub)
        clock = Clock()
        for body in bodies(asked, count):
            await hub.evbus.broker.put(body=body, profile="default")
        await drained(hub)
        clock.stop(count, sent=count + WARM_UP)


async def drained(hub: Any) -> None:
    """Wait until the bus is empty; the listener takes one event at a time, and another only when it is published."""
    done = asyncio.get_running_loop().create_future()
    plain = hub.evbus.BUS.get

    async def get() -> Any:
        if hub.evbus.BUS.empty() and not done.done():
            done.set_result(None)
        return await plain()

    hub.evbus.BUS.get = get
    try:
        await done
    finally:
        hub.evbus.BUS.get = plain


asyncio.run(main())

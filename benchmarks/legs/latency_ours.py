"""Latency to RabbitMQ, evbus_like: one event at a time, each waited for until the broker has confirmed it."""

from __future__ import annotations

import asyncio
from time import perf_counter

from measure import Clock, bodies, config
from ours import running

WARM_UP = 50


async def main() -> None:
    """Run the leg."""
    asked = config()
    count = asked["events"]
    profile = {"connection": {"url": asked["amqp_url"]}, "routing_key": asked["queues"][0]}
    async with running({"amqp": {"default": profile}}) as hub:
        put = hub.evbus.broker.put
        for body in bodies(asked, WARM_UP):
            await put("bench", body, confirm="delivered")
        took = []
        clock = Clock()
        for body in bodies(asked, count):
            start = perf_counter()
            await put("bench", body, confirm="delivered")
            took.append(perf_counter() - start)
        took.sort()
        clock.stop(count, sent=count + WARM_UP, p50=took[count // 2], p99=took[count * 99 // 100])


asyncio.run(main())

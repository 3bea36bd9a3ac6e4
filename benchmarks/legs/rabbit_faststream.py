"""To RabbitMQ, FastStream: persistent messages, confirmed one by one, many in flight."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

from faststream.rabbit import RabbitBroker
from measure import Clock, bodies, config

IN_FLIGHT = 500
WARM_UP = 100


async def main() -> None:
    """Run the leg."""
    asked = config()
    queue, count = asked["queues"][0], asked["events"]
    broker = RabbitBroker(asked["amqp_url"], logger=None, log_level=logging.CRITICAL)
    await broker.start()

    async def publish(stream: Iterator[Any]) -> None:
        for body in stream:
            await broker.publish(body, queue=queue, persist=True)

    async def publish_all(most: int) -> None:
        stream = bodies(asked, most)
        await asyncio.gather(*(publish(stream) for _ in range(asked.get("in_flight", IN_FLIGHT))))

    await publish_all(WARM_UP)
    clock = Clock()
    await publish_all(count)
    clock.stop(count, sent=count + WARM_UP)
    await broker.stop()


asyncio.run(main())

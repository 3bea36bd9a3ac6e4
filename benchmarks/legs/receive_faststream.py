"""From RabbitMQ, FastStream: a subscriber that gets decoded bodies."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import fill
from faststream.rabbit import Channel, RabbitBroker, RabbitQueue
from measure import Clock, bodies, config


async def main() -> None:
    """Run the leg."""
    asked = config()
    name, count = asked["queues"][0], asked["events"]
    await fill.queue(asked["amqp_url"], name, bodies(asked, count))
    broker = RabbitBroker(
        asked["amqp_url"],
        logger=None,
        log_level=logging.CRITICAL,
        default_channel=Channel(prefetch_count=fill.PREFETCH),
    )
    seen = 0
    done = asyncio.Event()

    @broker.subscriber(RabbitQueue(name, durable=True))
    async def take(body: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == count:
            done.set()

    clock = Clock()
    await broker.start()
    await done.wait()
    clock.stop(seen, sent=0)
    await broker.stop()


asyncio.run(main())

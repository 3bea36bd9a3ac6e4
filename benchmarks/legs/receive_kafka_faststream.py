"""From Kafka, FastStream: a subscriber that gets decoded bodies, and commits as aiokafka's group does."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import fill
from faststream.kafka import KafkaBroker
from measure import Clock, bodies, config


async def main() -> None:
    """Run the leg."""
    asked = config()
    name, count = asked["topics"][0], asked["events"]
    await fill.topic(asked["bootstrap"], name, bodies(asked, count))
    broker = KafkaBroker(asked["bootstrap"], logger=None, log_level=logging.CRITICAL)
    seen = 0
    done = asyncio.Event()

    @broker.subscriber(name, group_id=f"group-{name}", auto_offset_reset="earliest")
    async def take(body: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == count:
            done.set()

    clock = Clock()
    await broker.start()
    await done.wait()
    clock.stop(seen, sent=seen)
    await broker.stop()


asyncio.run(main())

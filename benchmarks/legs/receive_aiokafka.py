"""From Kafka, aiokafka's own loop: many records at a time, decoded, counted, and committed."""

from __future__ import annotations

import asyncio
import json

import fill
from aiokafka import AIOKafkaConsumer
from measure import Clock, bodies, config


async def main() -> None:
    """Run the leg."""
    asked = config()
    name, count = asked["topics"][0], asked["events"]
    await fill.topic(asked["bootstrap"], name, bodies(asked, count))
    seen = 0
    clock = Clock()
    async with AIOKafkaConsumer(
        name,
        bootstrap_servers=asked["bootstrap"],
        group_id=f"group-{name}",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    ) as consumer:
        while seen < count:
            for records in (await consumer.getmany(timeout_ms=1000, max_records=fill.PREFETCH)).values():
                for record in records:
                    json.loads(record.value)
                    seen += 1
            await consumer.commit()
        clock.stop(seen, sent=seen)


asyncio.run(main())

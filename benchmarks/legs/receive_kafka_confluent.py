"""From Kafka, confluent-kafka's consumer loop: many records at a time, decoded, counted, and committed."""

from __future__ import annotations

import asyncio
import json

import fill
from confluent_kafka import Consumer
from measure import Clock, bodies, config


def main() -> None:
    """Run the leg."""
    asked = config()
    name, count = asked["topics"][0], asked["events"]
    asyncio.run(fill.topic(asked["bootstrap"], name, bodies(asked, count)))
    seen = 0
    clock = Clock()
    consumer = Consumer(
        {
            "bootstrap.servers": asked["bootstrap"],
            "group.id": f"group-{name}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([name])
    while seen < count:
        records = consumer.consume(fill.PREFETCH, timeout=1)
        for record in records:
            if record.error() is None:
                json.loads(record.value())
                seen += 1
        if records:
            consumer.commit(asynchronous=False)
    clock.stop(seen, sent=seen)
    consumer.close()


main()

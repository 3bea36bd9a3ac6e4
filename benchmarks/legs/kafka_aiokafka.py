"""To Kafka, aiokafka: `send` for each event, the futures gathered at the end; acks=all, idempotent.

The records are evbus_like's: the same key, time stamp, headers and sizes, and the same batch size.
"""

from __future__ import annotations

import asyncio
import time

import orjson
from aiokafka import AIOKafkaProducer
from measure import Clock, bodies, config

WARM_UP = 100
HEADERS = [("evbus-id", b"0123456789abcdef0123-ffff"), ("content-type", b"application/json")]


async def main() -> None:
    """Run the leg."""
    asked = config()
    topic, count = asked["topics"][0], asked["events"]
    headers = HEADERS if asked.get("headers", True) else []
    async with AIOKafkaProducer(
        bootstrap_servers=asked["bootstrap"], acks="all", enable_idempotence=True, max_batch_size=256 * 1024
    ) as producer:
        await asyncio.gather(*[await producer.send(topic, b"{}", key=b"bench") for _ in range(WARM_UP)])
        clock = Clock()
        sent = []
        for body in bodies(asked, count):
            now = int(time.time() * 1000)
            sent.append(await producer.send(topic, orjson.dumps(body), key=b"bench", timestamp_ms=now, headers=headers))
        await asyncio.gather(*sent)
        clock.stop(count, sent=count + WARM_UP)


asyncio.run(main())

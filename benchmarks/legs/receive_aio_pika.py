"""From RabbitMQ, aio-pika's own consumer loop: a callback decodes, counts and acknowledges."""

from __future__ import annotations

import asyncio
import json

import aio_pika
import fill
from measure import Clock, bodies, config


async def main() -> None:
    """Run the leg."""
    asked = config()
    name, count = asked["queues"][0], asked["events"]
    await fill.queue(asked["amqp_url"], name, bodies(asked, count))
    clock = Clock()
    async with await aio_pika.connect(asked["amqp_url"]) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=fill.PREFETCH)
        queue = await channel.get_queue(name)
        seen = 0
        done = asyncio.Event()

        async def take(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            nonlocal seen
            json.loads(message.body)
            await message.ack()
            seen += 1
            if seen == count:
                done.set()

        tag = await queue.consume(take)
        await done.wait()
        clock.stop(seen, sent=0)
        await queue.cancel(tag)


asyncio.run(main())

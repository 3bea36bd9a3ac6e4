"""To RabbitMQ, aio-pika: persistent messages, confirmed one by one, many in flight."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import aio_pika
import orjson
from measure import Clock, bodies, config

IN_FLIGHT = 1000
WARM_UP = 100


async def main() -> None:
    """Run the leg."""
    asked = config()
    queue, count = asked["queues"][0], asked["events"]
    async with await aio_pika.connect(asked["amqp_url"]) as connection:
        exchange = (await connection.channel(publisher_confirms=True, on_return_raises=True)).default_exchange

        async def publish(stream: Iterator[Any]) -> None:
            for body in stream:
                message = aio_pika.Message(
                    orjson.dumps(body),
                    content_type="application/json",
                    delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                )
                await exchange.publish(message, routing_key=queue)

        async def publish_all(most: int) -> None:
            stream = bodies(asked, most)
            await asyncio.gather(*(publish(stream) for _ in range(asked.get("in_flight", IN_FLIGHT))))

        await publish_all(WARM_UP)
        clock = Clock()
        await publish_all(count)
        clock.stop(count, sent=count + WARM_UP)


asyncio.run(main())

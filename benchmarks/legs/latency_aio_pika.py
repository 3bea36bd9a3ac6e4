"""Latency to RabbitMQ, aio-pika: one persistent message at a time, each waited for until it is confirmed."""

from __future__ import annotations

import asyncio
from time import perf_counter

import aio_pika
import orjson
from measure import Clock, bodies, config

WARM_UP = 50


async def main() -> None:
    """Run the leg."""
    asked = config()
    queue, count = asked["queues"][0], asked["events"]
    async with await aio_pika.connect(asked["amqp_url"]) as connection:
        exchange = (await connection.channel(publisher_confirms=True, on_return_raises=True)).default_exchange

        async def publish(body: object) -> None:
            message = aio_pika.Message(
                orjson.dumps(body), content_type="application/json", delivery_mode=aio_pika.DeliveryMode.PERSISTENT
            )
            await exchange.publish(message, routing_key=queue)

        for body in bodies(asked, WARM_UP):
            await publish(body)
        took = []
        clock = Clock()
        for body in bodies(asked, count):
            start = perf_counter()
            await publish(body)
            took.append(perf_counter() - start)
        took.sort()
        clock.stop(count, sent=count + WARM_UP, p50=took[count // 2], p99=took[count * 99 // 100])


asyncio.run(main())

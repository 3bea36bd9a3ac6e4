"""Fills a queue or a topic before a receiving leg begins, the same way for every leg."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

PREFETCH = 1000  # messages that a broker sends ahead, for every receiving leg


async def queue(url: str, name: str, bodies: Iterable[Any], exchange: str = "") -> None:
    """Publish persistent messages to a queue; with an exchange, declare both as nameko does, and bind them."""
    import aio_pika

    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel(publisher_confirms=False)
        target, key = channel.default_exchange, name
        if exchange:
            target, key = await channel.declare_exchange(exchange, "topic", durable=True), "bench"
            await (await channel.declare_queue(name, durable=True)).bind(target, key)
        for number, body in enumerate(bodies):
            message = aio_pika.Message(
                json.dumps(body).encode(),
                content_type="application/json",
                delivery_mode=2,
                message_id=f"0123456789abcdef0123-{number:x}",
            )
            await target.publish(message, key, mandatory=False)
        await (await connection.channel()).close()  # answered when all that was written before has been read


async def remove(url: str, name: str, exchange: str) -> int:
    """Delete a queue and its exchange; gives how many messages were left."""
    import aio_pika

    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        left = (await channel.declare_queue(name, passive=True)).declaration_result.message_count or 0
        await channel.queue_delete(name)
        await channel.exchange_delete(exchange)
        return left


async def topic(servers: str, name: str, bodies: Iterable[Any]) -> None:
    """Send records to a topic, their keys taking turns."""
    from aiokafka import AIOKafkaProducer

    async with AIOKafkaProducer(bootstrap_servers=servers, max_batch_size=256 * 1024, linger_ms=5) as producer:
        headers = [("evbus-routing-key", b"bench"), ("content-type", b"application/json")]
        for number, body in enumerate(bodies):
            await producer.send(name, json.dumps(body).encode(), key=b"%d" % (number % 100), headers=headers)

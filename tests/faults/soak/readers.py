"""Readers that count what arrives at RabbitMQ and Kafka, past any proxy."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import aio_pika
from aiokafka import AIOKafkaConsumer, TopicPartition

from tests.faults.soak.arrivals import Arrivals

RECONNECT = 0.5  # seconds until a reader that lost its broker tries again


async def lasting(read: Callable[[], Awaitable[None]]) -> None:
    """Run a reader forever, though brokers are killed and client libraries cancel it when their connections end."""
    while True:
        try:
            await read()
        except (Exception, asyncio.CancelledError):
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
        await asyncio.sleep(RECONNECT)


async def read_rabbitmq(url: str, queue_name: str, arrivals: Arrivals) -> None:
    """Consume a queue until its connection ends."""
    async with await aio_pika.connect(url, timeout=10.0) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=500)
        queue = await channel.declare_queue(queue_name, passive=True)
        async with queue.iterator() as messages:
            async for message in messages:
                body = json.loads(message.body)
                arrivals.note(body["key"], body["number"], str(message.message_id), bool(message.redelivered))
                await message.ack()


class KafkaReader:
    """Reads all partitions of a topic, each record once, even if connections are lost."""

    def __init__(self, bootstrap: str, topic: str, partitions: int, arrivals: Arrivals) -> None:
        self._bootstrap = bootstrap
        self._arrivals = arrivals
        self._next = {TopicPartition(topic, number): 0 for number in range(partitions)}

    async def read(self) -> None:
        """Read until an error."""
        consumer: Any = AIOKafkaConsumer(bootstrap_servers=self._bootstrap, enable_auto_commit=False)
        async with asyncio.timeout(30.0):
            await consumer.start()
        try:
            consumer.assign(list(self._next))
            for partition, offset in self._next.items():
                consumer.seek(partition, offset)
            while True:
                for partition, records in (await consumer.getmany(timeout_ms=500)).items():
                    for record in records:
                        body = json.loads(record.value)
                        event_id = dict(record.headers)["evbus-id"].decode()
                        self._arrivals.note(body["key"], body["number"], event_id)
                    self._next[partition] = records[-1].offset + 1
        finally:
            await asyncio.wait([asyncio.ensure_future(consumer.stop())], timeout=5.0)

"""The conformance suite on RabbitMQ, both ways of publishing, read by plain aio-pika."""

import asyncio
from typing import Any, ClassVar
from urllib.parse import urlsplit

import aio_pika
import pytest

from evbus_like.testing.conformance import Features, IngressConformance, Record, Target


class RabbitTarget(Target):
    """Three durable queues on the default exchange."""

    provider = "amqp"

    def __init__(self, rabbitmq, name, **options):
        self.rabbitmq = rabbitmq
        self.options = options
        self.keys = tuple(f"{name}-{number}" for number in range(3))
        self.missing_key = f"{name}-missing"

    def profile(self):
        return {"connection": {"url": self.rabbitmq.url}, **self.options}

    def fixed_profile(self):
        return {**self.profile(), "routing_key": self.keys[0]}

    def refused_profile(self):
        place = urlsplit(self.rabbitmq.url).netloc.rpartition("@")[2]
        return {**self.profile(), "connection": {"url": f"amqp://guest:not-this-one@{place}/"}}, "not-this-one"

    async def declare(self):
        async with await aio_pika.connect(self.rabbitmq.url) as connection:
            channel = await connection.channel()
            for key in self.keys:
                await channel.declare_queue(key, durable=True)

    async def delete(self):
        async with await aio_pika.connect(self.rabbitmq.url) as connection:
            channel = await connection.channel()
            for key in self.keys:
                await channel.queue_delete(key)

    async def read(self, count):
        records = []
        async with asyncio.timeout(60), await aio_pika.connect(self.rabbitmq.url) as connection:
            channel = await connection.channel()
            await channel.set_qos(prefetch_count=500)
            while (ready := await self.ready(channel)) or len(records) < count:
                for key, messages in ready.items():
                    records += [record async for record in self.take(channel, key, messages)]
                await asyncio.sleep(0 if ready else 0.05)
        return records

    async def ready(self, channel):
        queues = [await channel.declare_queue(key, passive=True) for key in self.keys]
        return {q.name: q.declaration_result.message_count for q in queues if q.declaration_result.message_count}

    async def take(self, channel, key, count):
        queue = await channel.get_queue(key, ensure=False)
        async with queue.iterator() as messages:
            async for message in messages:
                await message.ack()
                facts = message.message_id, dict(message.headers), message.content_type
                yield Record(message.routing_key, message.body, *facts)
                if not (count := count - 1):
                    break

    async def kill(self):
        await asyncio.to_thread(self.rabbitmq.kill)

    async def start(self):
        await asyncio.to_thread(self.rabbitmq.start)


class TestBatched(IngressConformance):
    features = Features(max_event_bytes=16 * 1024 * 1024)
    options: ClassVar[dict[str, Any]] = {}

    @pytest.fixture
    async def target(self, rabbitmq, fresh_name):
        target = RabbitTarget(rabbitmq, fresh_name, **self.options)
        await target.declare()
        yield target
        await target.delete()


class TestOneByOne(TestBatched):
    options: ClassVar[dict[str, Any]] = {"batched": False}


class TestDurable(TestBatched):
    options: ClassVar[dict[str, Any]] = {"outbox": "always"}

    @pytest.fixture(autouse=True)
    def outbox(self, tmp_path, monkeypatch):
        monkeypatch.setenv("EVBUS_OUTBOX", str(tmp_path / "outbox.sqlite"))


class TestSpilling(TestDurable):
    """Three events in memory, all others on the disk."""

    options: ClassVar[dict[str, Any]] = {"when_full": "spill", "max_events": 3}

"""The conformance suite of sources on RabbitMQ; events are published by plain aio-pika."""

import asyncio

import aio_pika
import aiormq.exceptions
import pytest

from evbus_like.testing.conformance import Record, SourceConformance, SourceFeatures, SourceTarget


class RabbitSource(SourceTarget):
    """The topic exchanges of services, as nameko declares them."""

    provider = "amqp"

    def __init__(self, rabbitmq, **options):
        self.rabbitmq = rabbitmq
        self.options = options

    def profile(self):
        return {"connection": {"url": self.rabbitmq.url}, **self.options}

    async def publish(self, service, event_type, body, headers=None, id="", content_type="application/json", key=None):
        async with asyncio.timeout(60), await aio_pika.connect(self.rabbitmq.url) as connection:
            channel = await connection.channel()
            exchange = await channel.declare_exchange(f"{service}.events", "topic", durable=True)
            message = aio_pika.Message(
                body,
                headers=headers,
                message_id=id or None,
                content_type=content_type,
                delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            )
            await exchange.publish(message, event_type, mandatory=False)

    async def dead_letters(self, subscription):
        reading = asyncio.create_task(self._letters(subscription))  # of its own: the client cancels its readers
        await asyncio.wait([reading])
        trouble = None if reading.cancelled() else reading.exception()
        if reading.cancelled() or isinstance(trouble, aiormq.exceptions.ConnectionInternalError):
            return []  # a quorum queue that was made a moment ago; it is asked again
        return reading.result()

    async def _letters(self, subscription):
        letters = []
        async with asyncio.timeout(60), await aio_pika.connect(self.rabbitmq.url) as connection:
            channel = await connection.channel()
            try:
                queue = await channel.declare_queue(subscription.dead, passive=True)
            except aio_pika.exceptions.ChannelNotFoundEntity:
                return []
            while message := await queue.get(no_ack=True, fail=False):
                facts = message.message_id or "", dict(message.headers), message.content_type
                letters.append(Record(message.routing_key, message.body, *facts))
        return letters

    async def kill(self):
        await asyncio.to_thread(self.rabbitmq.kill)

    async def start(self):
        await asyncio.to_thread(self.rabbitmq.start)


class TestClassic(SourceConformance):
    features = SourceFeatures(delays=True)

    @pytest.fixture
    def target(self, rabbitmq):
        return RabbitSource(rabbitmq)


class TestQuorum(TestClassic):
    @pytest.fixture
    def target(self, rabbitmq):
        return RabbitSource(rabbitmq, quorum=True)

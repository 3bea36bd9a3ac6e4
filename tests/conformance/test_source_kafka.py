"""The conformance suite of sources on Kafka; records are produced by plain aiokafka."""

import asyncio
import re
from contextlib import suppress

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError

from evbus_like.testing.conformance import Record, SourceConformance, SourceFeatures, SourceTarget

PARTITIONS = 4


class KafkaSource(SourceTarget):
    """The topics of services, of several partitions each."""

    provider = "kafka"

    def __init__(self, kafka):
        self.kafka = kafka
        self.producer = None
        self.read_up_to = {}

    def profile(self):
        return {"connection": {"bootstrap_servers": self.kafka.bootstrap}, "session_timeout": 6}

    async def prepare(self, service):
        admin = AIOKafkaAdminClient(bootstrap_servers=self.kafka.bootstrap)
        await admin.start()
        try:
            with suppress(TopicAlreadyExistsError):
                await admin.create_topics([NewTopic(f"{service}.events", PARTITIONS, 1)])
        finally:
            await admin.close()

    async def publish(self, service, event_type, body, headers=None, id="", content_type="application/json", key=None):
        if self.producer is None:
            self.producer = AIOKafkaProducer(bootstrap_servers=self.kafka.bootstrap, acks="all")
            await self.producer.start()
        own = {"evbus-routing-key": event_type, "content-type": content_type, **({"evbus-id": id} if id else {})}
        sent = [(name, str(value).encode()) for name, value in {**own, **(headers or {})}.items()]
        async with asyncio.timeout(60):
            await self.producer.send_and_wait(
                f"{service}.events", body, key=None if key is None else key.encode(), headers=sent
            )

    async def dead_letters(self, subscription):
        topic = re.sub(r"[^a-zA-Z0-9._-]", "-", subscription.dead)
        letters = []
        async with (
            asyncio.timeout(60),
            AIOKafkaConsumer(bootstrap_servers=self.kafka.bootstrap) as consumer,
        ):
            if topic not in await consumer.topics():
                return []
            await consumer._client.set_topics([topic])  # so that its partitions are known
            partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
            consumer.assign(partitions)
            for partition, end in (await consumer.end_offsets(partitions)).items():
                consumer.seek(partition, self.read_up_to.get(partition, 0))
                while await consumer.position(partition) < end:
                    record = await consumer.getone(partition)
                    headers = dict(record.headers)
                    facts = headers.get("evbus-id", b"").decode(), {n: v.decode() for n, v in headers.items()}
                    letters.append(Record(headers["evbus-routing-key"].decode(), record.value, *facts))
                self.read_up_to[partition] = end
        return letters

    async def close(self):
        if self.producer is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(10):
                    await self.producer.stop()

    async def kill(self):
        await asyncio.to_thread(self.kafka.kill)

    async def start(self):
        await asyncio.to_thread(self.kafka.start)


class TestKafka(SourceConformance):
    features = SourceFeatures(
        typed_headers=False, redelivered=False, keyed_order=True, rewinds=True, max_event_bytes=1024 * 1024 - 4096
    )

    @pytest.fixture
    async def target(self, kafka):
        target = KafkaSource(kafka)
        yield target
        await target.close()

"""The conformance suite on Kafka, read by plain aiokafka."""

import asyncio

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from evbus_like.testing.conformance import Features, IngressConformance, Record, Target

PARTITIONS = 2


class KafkaTarget(Target):
    """Three topics of two partitions each; the routing key is the topic."""

    provider = "kafka"
    missing_key = "no topic can bear this name"

    def __init__(self, kafka, name):
        self.kafka = kafka
        self.keys = tuple(f"{name}-{number}" for number in range(3))
        self.read_up_to = {TopicPartition(key, number): 0 for key in self.keys for number in range(PARTITIONS)}

    def profile(self):
        return {"connection": {"bootstrap_servers": self.kafka.bootstrap}}

    def fixed_profile(self):
        return {**self.profile(), "topics": [self.keys[0]]}

    async def create(self):
        admin = AIOKafkaAdminClient(bootstrap_servers=self.kafka.bootstrap)
        await admin.start()
        try:
            await admin.create_topics([NewTopic(key, PARTITIONS, 1) for key in self.keys])
        finally:
            await admin.close()

    async def read(self, count):
        records = []
        async with (
            asyncio.timeout(60),
            AIOKafkaConsumer(bootstrap_servers=self.kafka.bootstrap, max_partition_fetch_bytes=2**22) as consumer,
        ):
            consumer.assign(list(self.read_up_to))
            for partition, offset in self.read_up_to.items():
                consumer.seek(partition, offset)
            while len(records) < count or self.read_up_to != await consumer.end_offsets(list(self.read_up_to)):
                for partition, batch in (await consumer.getmany(timeout_ms=200)).items():
                    records += map(record, batch)
                    self.read_up_to[partition] = batch[-1].offset + 1
        return records

    async def kill(self):
        await asyncio.to_thread(self.kafka.kill)

    async def start(self):
        await asyncio.to_thread(self.kafka.start)


def record(message):
    headers = {name: value if name == "bytes" else value.decode() for name, value in message.headers}
    return Record(message.topic, message.value, headers["evbus-id"], headers, headers["content-type"])


class TestKafka(IngressConformance):
    features = Features(typed_headers=False, refuses_login=False, max_event_bytes=1024 * 1024 - 4096)

    @pytest.fixture
    async def target(self, kafka, fresh_name):
        target = KafkaTarget(kafka, fresh_name)
        await target.create()
        return target

"""Records that no ordinary producer writes, put into a real Kafka: changed before their checksum is computed."""

import asyncio

import aiokafka

from tests.integration.support import DEADLINE
from tests.unit.records import sealed


async def publish_raw(bootstrap, topic, records, change=lambda raw: raw, codec=None):
    """Produce records, (key, value, headers) each, as one batch whose bytes are changed; gives the first's metadata."""
    producer = aiokafka.AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        acks="all",
        max_batch_size=1 << 24,
        max_request_size=1 << 26,
        compression_type=codec,
    )
    async with asyncio.timeout(DEADLINE), producer:
        batch = producer.create_batch()
        for number, (key, value, headers) in enumerate(records):
            assert batch.append(timestamp=1_700_000_000_000 + number, key=key, value=value, headers=headers)
        batch._buffer = sealed(change(bytes(batch._build())))
        return await (await producer.send_batch(batch, topic, partition=0))

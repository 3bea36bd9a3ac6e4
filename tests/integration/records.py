"""Records of Kafka, produced and inspected with plain aiokafka."""

import asyncio
import json

import aiokafka
from aiokafka.admin import AIOKafkaAdminClient

from tests.integration.support import DEADLINE


async def publish(bootstrap, topic, bodies, event_type="created", key=str, pause=0.0):
    """Produce JSON records of one type; `key` makes the record key from a body, None for no key. Gives metadata."""
    async with (
        asyncio.timeout(DEADLINE),
        aiokafka.AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer,
    ):
        sent = []
        for body in bodies:
            headers = [("evbus-id", f"id-{body}".encode()), ("content-type", b"application/json")]
            if event_type is not None:
                headers.append(("evbus-routing-key", event_type.encode()))
            name = key(body) if key else None
            value = json.dumps(body).encode()
            sent.append(await producer.send(topic, value, name.encode() if name else None, headers=headers))
            if pause:
                await asyncio.sleep(pause)
        return [await each for each in sent]


async def committed_offsets(bootstrap, topic, group):
    """Give a group's committed offsets of a topic, by partition; None without one."""
    async with (
        asyncio.timeout(DEADLINE),
        aiokafka.AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=group) as reader,
    ):
        await reader._client.set_topics([topic])
        places = [aiokafka.TopicPartition(topic, number) for number in reader.partitions_for_topic(topic) or ()]
        return {place.partition: await reader.committed(place) for place in places}


async def group_names(bootstrap):
    """Give the names of all groups."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        return {name for name, *_ in await admin.list_consumer_groups()}
    finally:
        await admin.close()


async def total_committed(bootstrap, topic, group):
    """Give the sum of a group's committed offsets: the number of settled records of a new topic."""
    return sum(offset or 0 for offset in (await committed_offsets(bootstrap, topic, group)).values())


async def wait_until_committed(bootstrap, topic, group, count):
    """Wait until so many records are committed; a producer that retried may have written more."""
    found = 0
    try:
        async with asyncio.timeout(DEADLINE):
            while (found := await total_committed(bootstrap, topic, group)) < count:  # noqa: ASYNC110 - Kafka signals nothing
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"{group} has committed {found} records of {topic}, not {count}") from None

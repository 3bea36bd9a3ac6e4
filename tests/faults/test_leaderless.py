"""A partition of Kafka has no leader: its events wait, and those of the other partitions arrive."""

import asyncio

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from evbus_like.testing import eventually, running
from tests.brokers.kafka import Kafka
from tests.brokers.needs import in_ci, kafka_missing
from tests.faults.book import Book
from tests.faults.second_kafka import NODE, SecondKafka
from tests.faults.sites import QUICK, parsed
from tests.integration.support import DEADLINE, read


@pytest.fixture(scope="module")
def kafka_cluster():
    """A Kafka of two brokers, the first of them the controller too."""
    if reason := kafka_missing():
        (pytest.fail if in_ci() else pytest.skip)(reason)
    brokers = [Kafka()]
    try:
        brokers[0].start()
        brokers.append(SecondKafka(brokers[0]))
        brokers[1].start()
        yield brokers
    finally:
        for broker in brokers:
            broker.close()


@pytest.mark.fault(15)
async def test_events_for_a_partition_without_a_leader_wait_until_it_has_one(kafka_cluster, fresh_name, costs):
    costs(await without_a_leader(kafka_cluster, fresh_name))


async def without_a_leader(cluster, name, at_most=None):
    """Put events for two partitions, let one lose its leader for a while, and give the costs."""
    # Given a topic with a partition on each broker
    first, second = cluster
    admin = AIOKafkaAdminClient(bootstrap_servers=first.bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, -1, -1, replica_assignments={0: [1], 1: [NODE]})])
    finally:
        await admin.close()
    book = Book()
    profile = {"connection": {"bootstrap_servers": first.bootstrap}, "topics": [name], **QUICK}
    async with running({"kafka": {"default": profile}}) as hub:
        for _ in range(30):
            await book.put(hub, confirm="delivered")
        # When the second broker dies, and events for both partitions are put
        await asyncio.to_thread(second.kill)
        for _ in range(300):
            book.put_nowait(hub)
        await eventually(lambda: hub.evbus.init.account().retries >= 300)
        # Then nothing is given up, and all arrive once there is a leader again
        assert hub.evbus.init.account().dead_lettered == 0
        await asyncio.to_thread(second.start)
        account = await hub.evbus.init.stop(DEADLINE)
    records = await read(first.bootstrap, name, 330)
    assert account.complete
    arrived = [parsed(dict(record.headers)["evbus-id"].decode(), record.value) for record in records]
    return book.check(account, arrived, at_most)

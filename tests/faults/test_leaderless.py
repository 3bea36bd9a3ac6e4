"""A partition of Kafka has no leader: its events wait, and those of the other partitions arrive."""

import asyncio
import time
from contextlib import asynccontextmanager

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from evbus_like.testing import eventually, running
from tests.brokers.kafka import Kafka
from tests.brokers.needs import in_ci, kafka_missing
from tests.faults.second_kafka import NODE, SecondKafka
from tests.faults.sender import Sender
from tests.faults.sites import QUICK, parse
from tests.integration.support import DEADLINE, read

LANE = "kafka:default"


@pytest.fixture(scope="module")
def kafka_cluster():
    """A Kafka of two brokers, the first of which is also the controller."""
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


@pytest.fixture
async def two_leaders(kafka_cluster, fresh_name):
    """A topic with its partition 0 on the first broker and its partition 1 on the second; gives its name."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_cluster[0].bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(fresh_name, -1, -1, replica_assignments={0: [1], 1: [NODE]})])
    finally:
        await admin.close()
    return fresh_name


@asynccontextmanager
async def dead(broker):
    """Kill a broker and start it again at the end."""
    await asyncio.to_thread(broker.kill)
    try:
        yield
    finally:
        await asyncio.to_thread(broker.start)


def profile(cluster, topic, request_timeout_ms=20_000, **options):
    connection = {"bootstrap_servers": cluster[0].bootstrap, "request_timeout_ms": request_timeout_ms}
    return {"kafka": {"default": {"connection": connection, "topics": [topic], **options}}}


def lane(hub):
    return hub.evbus.init.status()["destinations"][LANE]


async def arrivals(cluster, topic, count):
    """Read a topic: all that arrived, and the ids in the first broker's partition, where no id may occur twice."""
    records = await read(cluster[0].bootstrap, topic, count)
    arrived = [parse(dict(record.headers)["evbus-id"].decode(), record.value) for record in records]
    ids = [message.id for message, record in zip(arrived, records, strict=True) if record.partition == 0]
    assert len(ids) == len(set(ids)), "an event of the other partition was repeated"
    return arrived, set(ids)


@pytest.mark.fault(15)
@pytest.mark.parametrize("request_timeout_ms", [20_000, 1000], ids=["lane gives up first", "client gives up first"])
async def test_events_for_a_partition_without_a_leader_wait_and_no_event_of_another_is_repeated(
    kafka_cluster, two_leaders, request_timeout_ms, report_costs
):
    sender = Sender()
    async with running(profile(kafka_cluster, two_leaders, request_timeout_ms, **QUICK)) as hub:
        for _ in range(30):
            await sender.put(hub, confirm="delivered")
        # When the second broker dies, and events for both partitions are put
        async with dead(kafka_cluster[1]):
            for _ in range(300):
                sender.put_nowait(hub)
            await eventually(lambda: f"partition 1 of topic {two_leaders!r} has no leader" in lane(hub)["trouble"])
            meanwhile = hub.evbus.init.account()
        account = await hub.evbus.init.stop(DEADLINE)
    # Then those of the first broker arrive meanwhile, and the others once there is a leader again
    arrived, neighbours = await arrivals(kafka_cluster, two_leaders, 330)
    report_costs(sender.check(account, arrived))
    assert account.complete
    assert 30 < meanwhile.delivered == 30 + len(neighbours & set(list(sender.events)[30:])) < 330
    assert meanwhile.dead_lettered == 0


@pytest.mark.fault(15)
@pytest.mark.parametrize("request_timeout_ms", [20_000, 1000], ids=["in the client", "in the lane"])
async def test_waiting_for_a_leader_uses_little_cpu_time(kafka_cluster, two_leaders, request_timeout_ms):
    # Given events that wait for a leader: in aiokafka until request_timeout_ms has passed, then in the lane
    async with running(profile(kafka_cluster, two_leaders, request_timeout_ms)) as hub:
        for key in "abcd":
            await hub.evbus.broker.put(key, 1, confirm="delivered")
        async with dead(kafka_cluster[1]):
            for key in "abcd":
                await hub.evbus.broker.put(key, 2)
            await asyncio.sleep(5.0)  # until the cluster has noticed
            busy, real = time.process_time(), time.monotonic()
            await asyncio.sleep(5.0)
            assert time.process_time() - busy < 0.2 * (time.monotonic() - real)
            assert lane(hub)["waiting"]
        # Then they are delivered as soon as there is one
        account = await hub.evbus.init.stop(DEADLINE)
    assert (account.delivered, account.remaining) == (8, 0)


@pytest.mark.fault(15)
async def test_a_bus_started_while_a_partition_has_no_leader_delivers_to_the_others(kafka_cluster, two_leaders):
    async with dead(kafka_cluster[1]), running(profile(kafka_cluster, two_leaders, **QUICK)) as hub:
        for number in range(100):
            hub.evbus.broker.put_nowait(f"key {number}", number)
        await eventually(lambda: "has no leader" in lane(hub)["trouble"])
        account = await hub.evbus.init.stop(2.0)
    records = await read(kafka_cluster[0].bootstrap, two_leaders, account.delivered)
    assert {record.partition for record in records} == {0}
    assert 0 < account.delivered == len(records)
    assert account.delivered + account.remaining == 100

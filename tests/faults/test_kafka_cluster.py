"""A Kafka cluster of three brokers, one of which fails under load; `make cluster` runs the long form."""

import pytest

from evbus_like.testing import eventually
from tests.brokers.kafka_cluster import KafkaCluster
from tests.brokers.needs import in_ci, kafka_missing
from tests.faults.kafka_cluster import LED, OTHERS, Load, freeze_leader, kill_leader
from tests.faults.kafka_flows import bus_stream, make_topic, read_flow
from tests.integration.sources import handler, receiving
from tests.integration.support import DEADLINE

# So long that no client would go on in time because of them.
PATIENT = {"request_timeout_ms": 200_000}


@pytest.fixture(scope="module")
def three_brokers():
    if reason := kafka_missing():
        (pytest.fail if in_ci() else pytest.skip)(reason)
    cluster = KafkaCluster(controllers=1)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def cluster(three_brokers):
    yield three_brokers
    for node in three_brokers:
        node.resume()


async def test_a_partition_with_too_few_replicas_is_named_and_its_events_arrive_later(cluster, fresh_name):
    await make_topic(cluster, fresh_name, 3, min_insync_replicas="3")
    async with bus_stream(cluster, fresh_name, 50.0, "put", PATIENT) as stream:
        stream.start()
        await eventually(lambda: stream.confirmed.done)
        cluster.node(3).pause()
        await eventually(lambda: "has 2 in-sync replicas and needs 3: broker 3 down or behind" in stream.trouble())
        cluster.node(3).resume()
        await stream.end(DEADLINE)
    found = await read_flow(cluster, fresh_name)
    assert not found.missing(stream.put)
    assert not found.disorder()


# In this order: the broker that was killed need not be started again.
@pytest.mark.parametrize("fault", [freeze_leader, kill_leader], ids=lambda fault: fault.__name__)
async def test_puts_and_handlers_go_on_with_the_other_brokers_and_no_event_is_lost(
    fault, cluster, fresh_name, tmp_path, record_property
):
    seen = []

    async def take(event):
        seen.append(event)

    load = Load(cluster, fresh_name)
    # Given puts in memory and through the outbox, and a handler, on a cluster
    async with load.buses(str(tmp_path), **PATIENT):
        source = {"bootstrap_servers": cluster.bootstrap, **PATIENT}
        profile = {"connection": source, "session_timeout": 6, "topics": [f"{fresh_name}.memory"]}
        made = handler(take, "orders", ["*"], since="earliest")
        async with receiving({"kafka": {"default": profile}}, made):
            load.start()
            await load.flow()
            # When the leader of a third of the partitions fails: then all flow again without it, and in order
            await fault(load)
            await load.flow(*OTHERS)
            load.victim.resume()
            assert not await load.end()
            await eventually(lambda: len({event.id for event in seen}) >= len(load.streams[0].put))
    gaps = [f"{each.confirmed.name}: {each.confirmed.gap(0.0, LED):.1f} s" for each in load.streams]
    record_property("costs", ", ".join(gaps))

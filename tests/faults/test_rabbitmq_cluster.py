"""A RabbitMQ cluster of three nodes, one of which fails under load; `make cluster` runs the long form."""

import asyncio

import pytest

from evbus_like.testing import eventually
from tests.brokers.needs import in_ci, rabbitmq_missing
from tests.brokers.rabbitmq_cluster import RabbitCluster
from tests.faults.rabbitmq_cluster import Load, drain_connected, freeze_connected, kill_connected
from tests.integration.receiving import RecordingHandler, handle, receiving
from tests.integration.support import channel
from tests.integration.test_amqp_source import publishing


@pytest.fixture(scope="module")
def three_nodes():
    if reason := rabbitmq_missing():
        (pytest.fail if in_ci() else pytest.skip)(reason)
    cluster = RabbitCluster()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def cluster(three_nodes):
    """All nodes run."""
    three_nodes.start()
    yield three_nodes
    for node in three_nodes:
        node.resume()


async def test_a_handler_whose_queue_has_no_leader_says_so_and_others_of_its_profile_go_on(cluster, fresh_name):
    # Given a queue that only the first node has
    first, second, third = cluster
    queue = f"evt-{fresh_name}-alone--shipping.alone"
    seen, stuck = RecordingHandler(), RecordingHandler()
    alone = handle(stuck, fresh_name, "alone", name="alone")
    async with channel(first.url) as opened:
        await opened.declare_queue(queue, durable=True, arguments={"x-queue-type": "quorum"})
    for node in (second, third):
        leave = f'rabbit_quorum_queue:delete_member(<<"/">>, <<"{queue}">>, \'{node.node}\').'
        await asyncio.to_thread(first.evaluate, leave)
    # When that node is killed, and handlers of this queue and another one start on the second node
    await asyncio.to_thread(first.kill)
    profile = {"connection": {"url": second.url}, "quorum": True}
    async with receiving(profile, alone, handle(seen, fresh_name, "all", name="all"), join=False) as worker:
        # Then the first handler names its queue
        await eventually(lambda: "has no leader" in worker.stats(0).trouble)
        assert queue in worker.stats(0).trouble
        # And the other one receives
        await worker.group.consumers[1].subscribed.wait()
        async with publishing(second.url, fresh_name) as publish:
            await publish("all", 1)
            await seen.wait_for(1)
            # And the first one, too, once the node is back
            await asyncio.to_thread(first.start)
            await worker.until("open")
            await publish("alone", 2)
            await stuck.wait_for(1)


# In this order: the node that was killed need not be started again.
@pytest.mark.parametrize("fault", [drain_connected, freeze_connected, kill_connected], ids=lambda fault: fault.__name__)
async def test_puts_and_handlers_go_on_with_the_other_nodes_and_no_event_is_lost(
    fault, cluster, fresh_name, tmp_path, record_property
):
    # Given puts to memory and to the outbox, and a handler, on a cluster
    async with Load(cluster, fresh_name).run(str(tmp_path)) as load:
        # When the node to which the first is connected fails
        longest = await load.through(lambda: fault(load))
        # Then all flow again without that node, and every event is handled
        assert not await load.missing()
    record_property("costs", ", ".join(f"{name}: {value} s without flow" for name, value in longest.items()))

"""A RabbitMQ cluster of three nodes, one of which fails under load; `make cluster` runs the long form."""

import pytest

from tests.brokers.needs import in_ci, rabbitmq_missing
from tests.brokers.rabbitmq_cluster import RabbitCluster
from tests.faults.rabbitmq_cluster import Load, drain_connected, freeze_connected, kill_connected


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

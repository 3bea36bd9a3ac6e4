"""A RabbitMQ cluster of three nodes, one of which fails under load; `make cluster` runs the long form."""

import asyncio
import json
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import aio_pika
import pytest

from evbus_like.testing import eventually, running
from tests.brokers.needs import in_ci, rabbitmq_missing
from tests.brokers.rabbitmq_cluster import RabbitCluster
from tests.brokers.rabbitmq_programs import wants_4
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


async def test_a_shard_without_a_leader_is_named_and_the_others_go_on(cluster, fresh_name, caplog):
    # Given a shard that only the first node has
    first, second, third = cluster
    shard, keys = f"evt-{fresh_name}-created--shipping.ship.shard.1", [f"key-{number}" for number in range(20)]
    seen = RecordingHandler()
    made = handle(seen, fresh_name, "created", shards=3)
    profile = {"connection": {"url": second.url}, "quorum": True}
    async with receiving(profile, made):
        for node in (second, third):
            leave = f'rabbit_quorum_queue:delete_member(<<"/">>, <<"{shard}">>, \'{node.node}\').'
            await asyncio.to_thread(first.evaluate, leave)
    # When that node is killed, and a worker starts on the second node
    await asyncio.to_thread(first.kill)
    async with (
        AsyncExitStack() as stack,
        receiving(profile, made) as worker,
        running({"amqp": {"default": profile}}) as hub,
    ):
        # Then the log names the shard, and the other ones are read
        (consumer,) = worker.group.consumers
        await eventually(lambda: shard in caplog.text and getattr(consumer.feed, "shards", []) == [0, 2])
        if wants_4():  # which holds up the channel for a minute, and so all events of a bus
            await stack.enter_async_context(publishing_apart(second.url, fresh_name, keys))
        else:
            for key in keys:
                hub.evbus.broker.dispatch_nowait(fresh_name, "created", key, key=key)
        await eventually(lambda: len(seen.events) > 5)
        # And this one, too, once the node is back
        await asyncio.to_thread(first.start)
        await eventually(lambda: {event.body for event in seen.events} == set(keys))
        assert consumer.feed.shards == [0, 1, 2]


@asynccontextmanager
async def publishing_apart(url, service, keys):
    """Publish an event of each key, on a channel of its own; what RabbitMQ takes only later comes later."""
    connection = await aio_pika.connect(url)
    for key in keys:
        opened = await connection.channel(publisher_confirms=False)
        exchange = await opened.get_exchange(f"{service}.events", ensure=False)
        content = {"content_type": "application/json", "headers": {"evbus-key": key}, "delivery_mode": 2}
        await exchange.publish(aio_pika.Message(json.dumps(key).encode(), **content), "created", mandatory=False)
    yield
    with suppress(Exception):  # channels that are held up
        async with asyncio.timeout(5):
            await connection.close()


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

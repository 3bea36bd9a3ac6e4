"""The capacity model of `evbus plan`: no broker, no clock; benchmarks/capacity.py measures its constants."""

import json
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evbus_like.cli import output, plan
from evbus_like.cli.errors import UsageError
from evbus_like.cli.plan import costs, model
from evbus_like.testing import new_hub

BROKERS = pytest.mark.parametrize("broker", costs.BROKERS, ids=lambda broker: broker.name)
FLOWS = st.builds(
    model.Flow,
    rate=st.floats(0.001, 1e9),
    size=st.integers(1, 2**31 - 1),
    destinations=st.integers(1, 1000),
    handlers=st.integers(0, 1000),
    calls=st.floats(0, 1e9),
    durable=st.booleans(),
    handler_ms=st.floats(0, 1e7),
    cores=st.integers(1, 4096),
    speed=st.floats(0.01, 100),
)
COUNTS = ("machines", "per_handler", "nodes", "connections", "channels")


@BROKERS
@given(flow=FLOWS, more=st.floats(1, 100))
def test_more_events_never_need_less(broker, flow, more):
    few, many = model.plan(flow, broker), model.plan(replace(flow, rate=flow.rate * more), broker)
    limits = {limit.name: limit.needed for limit in many.limits}
    assert all(limits[limit.name] >= limit.needed for limit in few.limits)
    # several clusters have fewer connections than one, where each process has one to each node of its cluster
    if few.clusters == many.clusters or not broker.every_node:
        assert all(getattr(many, name) >= getattr(few, name) for name in COUNTS)


@BROKERS
@given(flow=FLOWS)
def test_whatever_is_asked_there_is_enough_of_everything_and_the_first_limit_comes_first(broker, flow):
    made = model.plan(flow, broker)
    assert made.putting.needed >= 1
    assert made.nodes >= costs.REPLICAS
    assert all(limit.needed * limit.one_takes * costs.FILLED >= limit.asked * 0.999 for limit in made.limits)
    assert [limit.times for limit in made.first] == sorted((limit.times for limit in made.limits), reverse=True)
    assert json.loads(json.dumps(model.as_data(made)))["limits"][0]["limit"] == made.first[0].name


@BROKERS
@given(flow=FLOWS)
def test_no_node_has_more_connections_than_it_takes_and_no_cluster_too_few_nodes(broker, flow):
    made = model.plan(flow, broker)
    assert made.connections <= made.nodes * costs.CONNECTIONS * costs.FILLED * 1.001
    assert made.nodes >= costs.REPLICAS * (made.clusters if broker.every_node else 1)


def test_without_handlers_there_is_no_queue_and_no_limit_of_one():
    made = model.plan(model.Flow(rate=1e6, size=100, handlers=0), costs.RABBITMQ)
    assert made.per_handler == made.handling.needed == 0
    assert "a queue" not in {limit.name for limit in made.limits}


@BROKERS
def test_a_durable_put_costs_the_outbox_and_a_slower_core_costs_more(broker):
    flow = model.Flow(rate=1000, size=costs.SMALL)
    plain = model.plan(flow, broker)
    assert model.plan(replace(flow, durable=True), broker).put_us == pytest.approx(plain.put_us + costs.OUTBOX.small)
    assert model.plan(replace(flow, speed=0.5), broker).put_us == pytest.approx(2 * plain.put_us)


def test_each_process_of_handlers_has_a_partition_and_shares_a_queue():
    slow = model.Flow(rate=10_000, size=100, handler_ms=1.0)
    kafka, rabbitmq = model.plan(slow, costs.KAFKA), model.plan(slow, costs.RABBITMQ)
    assert kafka.per_handler == kafka.handling.needed == 15
    assert rabbitmq.per_handler == 1


def hub_with(**given):
    hub = new_hub()
    hub.OPT = hub.pop.data.imap({"evbus_like": {"durable": False, "json": True, **given}})
    return hub


async def test_the_command_gives_both_plans_as_one_document(capsys, monkeypatch):
    monkeypatch.setattr(output, "results", lambda: sys.stdout)
    assert await plan.run(hub_with(rate="10000", bytes=1000, destinations=2, handlers=3)) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["asked"]["rate"] == 10_000
    assert found["amqp"]["queues_of_each_handler"] == 1
    assert found["kafka"]["partitions_of_each_topic"] == 1
    assert found["kafka"]["problem"] is None


async def test_a_flow_without_handlers_is_printed_without_their_queues_and_costs(capsys, monkeypatch):
    monkeypatch.setattr(output, "results", lambda: sys.stdout)
    assert await plan.run(hub_with(rate=0.001, bytes=1, handlers=0, json=False)) == 0
    found = capsys.readouterr().out
    assert "of 1 byte to" in found
    assert "for each handler" not in found
    assert "CPU of a handler" not in found
    assert "less than 1 % of one" in found


async def test_events_that_no_broker_takes_have_no_plan(capsys, monkeypatch):
    monkeypatch.setattr(output, "results", lambda: sys.stdout)
    assert await plan.run(hub_with(rate=1, bytes=2_000_000)) == 0  # RabbitMQ takes them
    assert await plan.run(hub_with(rate=1, bytes=2**28, json=False)) == 1
    assert "unless connection.max_request_size" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "said"), [({}, "--rate and --bytes"), ({"rate": 1}, "--bytes"), ({"bytes": 1}, "--rate")]
)
async def test_rate_and_size_must_be_given(given, said):
    with pytest.raises(UsageError, match=f"{said} must be given"):
        await plan.run(hub_with(**given))

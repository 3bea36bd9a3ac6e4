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
COUNTS = ("machines", "per_handler", "nodes", "connections", "channels", "waiting_bytes")


def needs(flow, broker):
    made = model.plan(flow, broker)
    return {limit.name: limit.needed for limit in made.limits} | {name: getattr(made, name) for name in COUNTS[:5]}


@BROKERS
@given(flow=FLOWS, more=st.floats(1, 100))
def test_more_events_never_need_less(broker, flow, more):
    few, many = needs(flow, broker), needs(replace(flow, rate=flow.rate * more), broker)
    assert all(many[name] >= few[name] for name in few)


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

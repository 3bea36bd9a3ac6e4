"""evbus/init.py and evbus/broker.py: the bus on the hub."""

import asyncio
import inspect
import json

import pytest

from evbus_like.engine.errors import BusStopped, LifecycleError, ProfileError, SerializeError
from tests.unit.fakes import HANG


async def test_the_first_event(hub, start):
    await start()

    receipt = await hub.evbus.broker.put(routing_key="k", body={"a": 1}, confirm="delivered")

    assert receipt.outcomes == {"internal:default": "delivered"}
    assert await (await hub.ingress.internal.get("k")).get() == b'{"a":1}'


async def test_calls_of_pop_evbus_work_without_a_routing_key(hub, start):
    assert await hub.evbus.broker.init() is hub.evbus.BUS
    hub.evbus.broker.put_nowait(profile="default", body=1)
    listener = await start(await hub.evbus.acct.profiles(acct_data={"internal": {"default": None}}))
    await hub.evbus.broker.put(body=2, profile="default")

    assert hub.evbus.STARTED
    await hub.evbus.init.stop()
    await asyncio.wait_for(listener, HANG)

    assert not hub.evbus.STARTED
    queue = await hub.ingress.internal.get()
    assert [json.loads(queue.get_nowait()) for _ in range(2)] == [1, 2]


def test_the_defaults_are_where_pop_evbus_had_them(hub):
    assert (hub.evbus.SERIAL_PLUGIN, hub.serialize.PLUGIN, hub.match.PLUGIN, hub.evbus.STARTED) == (
        "json",
        "json",
        "glob",
        False,
    )


async def test_the_bus_has_the_interface_of_an_asyncio_queue(hub):
    wanted = [name for name, _ in inspect.getmembers(asyncio.Queue, inspect.isfunction) if not name.startswith("_")]

    assert [name for name in wanted if not callable(getattr(hub.evbus.BUS, name, None))] == []


async def test_get_returns_the_oldest_event_serialized(hub):
    hub.evbus.broker.put_nowait(routing_key="k", body={"a": 1})

    event = await asyncio.wait_for(hub.evbus.broker.get(), HANG)

    assert (event.body, event.routing_key, event.content_type) == (b'{"a":1}', "k", "application/json")
    assert hub.evbus.BUS.empty()


async def test_a_second_start_is_refused_and_the_first_keeps_running(hub, start):
    await start()

    with pytest.raises(LifecycleError, match="start was called while the bus is running"):
        await hub.evbus.init.start({})

    assert hub.evbus.STARTED
    await hub.evbus.broker.put(body=1, confirm="delivered")


async def test_start_and_join_raise_the_error_of_a_failed_start(hub):
    task = asyncio.create_task(hub.evbus.init.start({"internal": {"a": {"wrong": 1}}}))

    with pytest.raises(ProfileError, match="no option wrong"):
        await hub.evbus.init.join(HANG)
    with pytest.raises(ProfileError):
        await task
    assert not hub.evbus.STARTED


async def test_stop_may_be_called_before_start_and_twice(hub, start):
    assert (await hub.evbus.init.stop()).put == 0
    await start()
    await hub.evbus.broker.put(body=1)

    first = await hub.evbus.init.stop()

    assert await hub.evbus.init.stop() == first
    with pytest.raises(BusStopped):
        await hub.evbus.broker.put(body=2)
    with pytest.raises(BusStopped):
        hub.evbus.broker.put_nowait(body=2)


async def test_start_again_after_stop_delivers_again(hub, start):
    await start()
    await hub.evbus.init.stop()

    await start()
    await hub.evbus.broker.put(body=2, confirm="delivered")

    assert hub.evbus.STARTED


async def test_a_body_that_cannot_be_serialized_raises_at_the_call_with_its_place(hub, start):
    await start()

    with pytest.raises(SerializeError, match=r"body\.items\[1\]"):
        await hub.evbus.broker.put(body={"items": [1, object()]})


async def test_settings_of_the_configuration_are_used(hub, start):
    await start(max_queued=7, put_timeout=0.5)

    assert (hub.evbus.BUS.maxsize, hub.evbus.RUNTIME.putter.timeout) == (7, 0.5)


async def test_status_and_account_are_plain_and_show_no_secret(hub, start):
    await start({"internal": {"a": {}}, "amqp": {"b": {"connection": "amqp://me:hunter2@localhost:1/"}}})
    await hub.evbus.broker.put(body=1, profile="b")

    text = json.dumps([hub.evbus.init.status(), hub.evbus.init.account().as_dict()])

    assert hub.evbus.init.status()["destinations"]["amqp:b"]["waiting"] == 1
    assert "hunter2" not in text


async def test_each_hub_has_a_bus_of_its_own(hub, start):
    import pop.hub

    other = pop.hub.Hub()
    other.pop.sub.add(dyne_name="evbus")
    await start()

    await hub.evbus.broker.put(routing_key="k", body=1, confirm="delivered")

    assert other.evbus.RUNTIME.bus.state == "new"
    assert (await other.ingress.internal.get("k")).empty()


async def test_two_matching_profiles_each_get_the_event_in_their_own_format(hub, start):
    await start({"internal": {"*": {"routing_key": "a"}, "d*": {"routing_key": "b", "serializer": "yaml"}}})

    await hub.evbus.broker.put(body={"x": None}, confirm="delivered")

    assert (await hub.ingress.internal.get("a")).get_nowait() == b'{"x":null}'
    assert (await hub.ingress.internal.get("b")).get_nowait() == b"x: null\n"

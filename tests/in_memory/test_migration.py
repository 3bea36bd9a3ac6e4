"""What docs/migration.md tells users of pop-evbus to expect, and to write instead."""

import asyncio
import datetime
import math
import queue

import pytest

from evbus_like.engine.errors import BadEvent, NotDelivered, SerializeError

PROFILES = {"internal": [{"default": {"routing_key": "q"}}, {"p": {"routing_key": "p"}}]}


async def test_a_body_in_the_first_place_is_refused_and_the_error_says_what_to_write(hub, start):
    await start(PROFILES)
    with pytest.raises(BadEvent, match=r"put\(routing_key=\.\.\., body=\.\.\., profile=\.\.\.\)"):
        await hub.evbus.broker.put({"id": 1}, "p")

    await hub.evbus.broker.put(body={"id": 1}, profile="p")
    assert await (await hub.ingress.internal.get("p")).get() == b'{"id":1}'


@pytest.mark.parametrize("value", [datetime.timedelta(seconds=90), math.nan, 2**70])
async def test_values_without_a_form_are_refused_with_their_place(hub, start, value):
    await start(PROFILES)
    with pytest.raises(SerializeError, match=r"body\.took"):
        await hub.evbus.broker.put(body={"took": value})


async def test_a_serializer_that_is_set_while_the_bus_runs_holds_from_the_next_reload_on(hub, start):
    await start(PROFILES)
    made = await hub.ingress.internal.get("q")
    hub.evbus.SERIAL_PLUGIN = "msgpack"
    await hub.evbus.broker.put(body=[1])
    await hub.evbus.init.reload(PROFILES)
    await hub.evbus.broker.put(body=[1])

    assert [made.get_nowait(), await made.get()] == [b"[1]", b"\x91\x01"]


async def test_the_bus_is_one_queue_all_along_and_started_says_whether_it_runs(hub, start):
    before = hub.evbus.BUS
    assert not isinstance(before, queue.Queue)
    assert not hub.evbus.STARTED

    await start(PROFILES)
    assert hub.evbus.STARTED
    assert hub.evbus.BUS is before is await hub.evbus.broker.init()


async def test_a_delivered_put_does_what_propagate_did(hub, start):
    await start({"internal": {"p": {"routing_key": "p"}}})
    assert not hasattr(hub.evbus.broker, "propagate")
    receipt = await hub.evbus.broker.put(body=1, profile="p", confirm="delivered")
    assert receipt.delivered

    async with asyncio.timeout(30):
        with pytest.raises(NotDelivered, match="no profile matches"):
            await hub.evbus.broker.put(body=1, profile="other", confirm="delivered")

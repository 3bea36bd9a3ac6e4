"""ingress/internal.py: a bounded in-memory queue for each routing key."""

import asyncio
import json
from types import SimpleNamespace

import pytest

from evbus_like.engine.errors import ProfileError, QueueFull
from evbus_like.engine.event import Event
from evbus_like.engine.receiving.subscription import Subscription
from tests.unit.fakes import HANG, until


async def drained(hub, routing_key=None):
    queue = await hub.ingress.internal.get(routing_key)
    return [json.loads(queue.get_nowait()) for _ in range(queue.qsize())]


async def test_the_routing_key_of_the_event_names_the_queue(hub, start):
    await start()
    for n in range(4):
        await hub.evbus.broker.put(routing_key="even" if n % 2 == 0 else "odd", body=n, confirm="delivered")

    assert await drained(hub, "even") == [0, 2]
    assert await drained(hub, "odd") == [1, 3]


async def test_events_of_several_keys_in_one_batch_each_find_their_queue(hub, start):
    await start()
    for n in range(9):
        hub.evbus.broker.put_nowait(routing_key="abc"[n % 3], body=n)
    await hub.evbus.init.stop(HANG)

    assert [await drained(hub, key) for key in "abc"] == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]


@pytest.mark.parametrize("nothing", ["", None], ids=repr)
async def test_an_empty_routing_key_of_a_profile_has_no_effect(hub, start, nothing):
    await start({"internal": {"default": {"routing_key": nothing}}})
    for key in "abab":
        hub.evbus.broker.put_nowait(routing_key=key, body=key)
    await hub.evbus.init.stop(HANG)

    assert [await drained(hub, key) for key in "ab"] == [["a", "a"], ["b", "b"]]


async def test_the_profile_may_name_the_queue(hub, start):
    await start({"internal": {"default": {"routing_key": "audit"}}})
    await hub.evbus.broker.put(routing_key="other", body=1, confirm="delivered")

    assert await drained(hub, "audit") == [1]


async def test_without_a_routing_key_the_queue_has_an_empty_name(hub, start):
    await start()
    await hub.evbus.broker.put(body=1, confirm="delivered")

    assert await drained(hub) == [1]
    assert await hub.ingress.internal.get("") is await hub.ingress.internal.get(None)


async def test_a_reader_may_wait_before_anything_is_put(hub, start):
    await start()
    queue = await hub.ingress.internal.get("k")
    reader = asyncio.create_task(queue.get_event())
    await asyncio.sleep(0)

    await hub.evbus.broker.put(routing_key="k", body={"a": 1}, headers={"h": 1})

    event = await asyncio.wait_for(reader, HANG)
    assert (event.body, event.content_type, event.headers, event.routing_key) == (
        b'{"a":1}',
        "application/json",
        {"h": 1},
        "k",
    )


async def test_a_full_queue_holds_its_lane_until_somebody_reads(hub, start):
    await start({"internal": {"default": {"queue_events": 2}}})
    queue = await hub.ingress.internal.get("k")
    for n in range(5):
        await hub.evbus.broker.put(routing_key="k", body=n)
    await until(lambda: queue.qsize() == 2)

    assert [json.loads(await asyncio.wait_for(queue.get(), HANG)) for _ in range(5)] == [0, 1, 2, 3, 4]
    account = await hub.evbus.init.stop(HANG)
    assert account.complete


async def test_a_stop_beside_a_full_queue_counts_what_is_in_it_as_delivered(hub, start):
    await start({"internal": {"default": {"queue_events": 2}}})
    queue = await hub.ingress.internal.get("k")
    for n in range(5):
        await hub.evbus.broker.put(routing_key="k", body=n)
    await until(lambda: queue.qsize() == 2)

    account = await hub.evbus.init.stop(0.1)

    assert (account.delivered, account.remaining) == (2, 3)


@pytest.mark.parametrize("size", [0, -1])
async def test_an_invalid_queue_size_is_refused(hub, size):
    with pytest.raises(ProfileError, match="queue_events"):
        await asyncio.wait_for(hub.evbus.init.start({"internal": {"default": {"queue_events": size}}}), 1)


async def test_an_event_stays_unsettled_if_the_queue_of_its_dead_letters_is_full(hub):
    ctx, asked = SimpleNamespace(acct={}), Subscription("orders", ("placed",), "shipping", "ship")
    feed = await hub.egress.internal.subscribe(ctx, asked)
    letters = hub.ingress.internal.mailbox(asked.dead)
    letters.maxsize = 1
    exchange = hub.ingress.internal.EXCHANGES["orders.events"]
    for body in (b"first", b"second"):
        exchange.put(Event("placed", body, "default", {}, None))
    first, second = await hub.egress.internal.receive(ctx, feed)

    await hub.egress.internal.dead(ctx, feed, first, "no")
    with pytest.raises(QueueFull):
        await hub.egress.internal.dead(ctx, feed, second, "no")
    await hub.egress.internal.unsubscribe(ctx, feed)

    assert [letters.get_nowait(), feed._binding.mailbox.get_nowait()] == [b"first", b"second"]
    assert feed._binding.mailbox.empty()

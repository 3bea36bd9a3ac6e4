"""Expiry and priority on RabbitMQ and Kafka: what is on the wire, and what the brokers and handlers make of it."""

import asyncio
import json
from time import time

import aio_pika
import pytest

from evbus_like.engine.expiry import EXPIRES
from evbus_like.errors import BadEvent, HandlerError, ProfileError
from evbus_like.testing import eventually, running
from tests.integration import sources
from tests.integration.receiving import RecordingHandler, handle, receiving
from tests.integration.support import channel, lengths, queue, read, take, until

HOUR = 3600


def rabbit(rabbitmq, **options):
    return {"connection": {"url": rabbitmq.url}, **options}


def kafka_profile(kafka, **options):
    return {"connection": {"bootstrap_servers": kafka.bootstrap}, **options}


# ---- on the wire


@pytest.mark.parametrize("batched", [True, False])
async def test_rabbitmq_gets_the_rest_of_the_time_and_the_priority_as_properties(rabbitmq, fresh_name, batched):
    profiles = {"amqp": {"default": rabbit(rabbitmq, batched=batched), "own": rabbit(rabbitmq, expires=60, priority=2)}}
    async with queue(rabbitmq.url, fresh_name) as made, running(profiles) as hub:
        before = time()
        await hub.evbus.broker.put(fresh_name, 1, expires=HOUR, priority=7, confirm="delivered")
        await hub.evbus.broker.put(fresh_name, 2, "own", confirm="delivered")
        await hub.evbus.broker.put(fresh_name, 3, confirm="delivered")
        first, second, third = await take(made, 3)
    assert HOUR - 60 < first.expiration <= HOUR + 0.01
    assert first.priority == 7
    assert first.headers.keys() == {EXPIRES}
    assert before + HOUR - 0.01 <= first.headers[EXPIRES] / 1000 <= time() + HOUR
    assert 0 < second.expiration <= 60.01
    assert second.priority == 2
    assert (third.expiration, third.priority, third.headers) == (None, 0, {})


async def test_rabbitmq_drops_an_event_that_nobody_has_read_in_time(rabbitmq, fresh_name):
    async with queue(rabbitmq.url, fresh_name), running({"amqp": {"default": rabbit(rabbitmq)}}) as hub:
        await hub.evbus.broker.put(fresh_name, "soon late", expires=5, confirm="delivered")
        async with channel(rabbitmq.url) as opened:
            async with asyncio.timeout(30):
                while any(await lengths(opened, fresh_name)):  # noqa: ASYNC110 - nothing tells of it
                    await asyncio.sleep(0.05)


async def test_kafka_gets_the_moment_as_a_header_which_a_handler_that_comes_too_late_heeds(kafka, fresh_name):
    profiles = {"kafka": {"default": kafka_profile(kafka)}}
    async with running(profiles) as hub:
        dispatch = hub.evbus.broker.dispatch
        await dispatch(fresh_name, "created", "in time", expires=HOUR, confirm="delivered", timeout=30)
        await dispatch(fresh_name, "created", "late", expires=3, confirm="delivered", timeout=30)
    records = await read(kafka.bootstrap, f"{fresh_name}.events", 2)
    moments = {json.loads(record.value): int(dict(record.headers)[EXPIRES]) for record in records}
    assert moments["in time"] / 1000 == pytest.approx(time() + HOUR, abs=60)
    await asyncio.sleep(max(0.0, moments["late"] / 1000 - time()))
    seen = RecordingHandler()
    handler = sources.handler(seen, fresh_name, since="earliest")
    async with sources.receiving(profiles, handler) as group:
        await seen.wait_for(1)
        (consumer,) = group.consumers
        await eventually(lambda: consumer.stats.received == 2)
        await eventually(lambda: consumer.stats.expired == 1)
    assert seen.bodies == ["in time"]


# ---- priorities


async def test_a_handler_with_priorities_gets_the_higher_ones_first_and_a_retry_keeps_its_own(rabbitmq, fresh_name):
    opened, order = asyncio.Event(), []

    async def wait(event):
        if not order:
            await opened.wait()
        order.append(event.body)
        if event.body == "high" and order.count("high") == 1:
            raise ValueError("once more")

    handler = handle(wait, fresh_name, "placed", max_priority=5, prefetch=1, max_workers=1, backoff=0.1)
    async with (
        receiving(rabbit(rabbitmq), handler) as worker,
        running({"amqp": {"default": rabbit(rabbitmq)}}) as hub,
    ):
        dispatch = hub.evbus.broker.dispatch
        await dispatch(fresh_name, "placed", "first", confirm="delivered")
        await eventually(lambda: worker.stats().received)
        await dispatch(fresh_name, "placed", "none", confirm="delivered")
        await dispatch(fresh_name, "placed", "low", priority=1, confirm="delivered")
        await dispatch(fresh_name, "placed", "high", priority=200, confirm="delivered")
        await dispatch(fresh_name, "placed", "middle", priority=3, confirm="delivered")
        opened.set()
        await eventually(lambda: len(order) == 6)
    assert order[:2] == ["first", "high"]
    assert [body for body in order if body != "high"] == ["first", "middle", "low", "none"]


async def test_a_queue_that_exists_without_priorities_is_named_with_what_to_do(rabbitmq, fresh_name):
    seen = RecordingHandler()
    async with receiving(rabbit(rabbitmq), handle(seen, fresh_name, "placed")):
        pass
    other = handle(seen, fresh_name, "placed", max_priority=5)
    async with receiving(rabbit(rabbitmq), other, join=False) as worker:
        assert "the same delivery, reliable, shards, max_priority and quorum" in await worker.until("refused")


async def test_quorum_queues_and_other_sources_have_no_priorities_which_the_start_says(rabbitmq, kafka, fresh_name):
    handler = sources.handler(RecordingHandler(), fresh_name, max_priority=5)
    quorum = {"amqp": {"default": rabbit(rabbitmq, quorum=True)}}
    for profiles, message in (
        (quorum, "max_priority= needs a classic queue, and profile amqp:default declares quorum queues"),
        ({"kafka": {"default": kafka_profile(kafka)}}, "max_priority= is for RabbitMQ, and kafka:default has no"),
        ({"internal": {"default": None}}, "max_priority= is for RabbitMQ, and internal:default has no priorities"),
    ):
        with pytest.raises(HandlerError, match=message):
            async with sources.receiving(profiles, handler):
                pass


async def test_destinations_without_priorities_refuse_them_at_the_put_and_in_profiles_at_the_start(kafka):
    for profiles in ({"internal": {"default": None}}, {"kafka": {"default": kafka_profile(kafka)}}):
        ((provider, named),) = profiles.items()
        async with running(profiles) as hub:
            await until(hub, f"{provider}:default", "open")
            with pytest.raises(BadEvent, match=f"{provider}:default has no priorities"):
                await hub.evbus.broker.put("k", {}, priority=1)
            with pytest.raises(BadEvent, match=f"{provider}:default has no priorities"):
                hub.evbus.broker.dispatch_nowait("orders", "placed", {}, priority=1)
        wrong = {provider: {"default": {**(named["default"] or {}), "priority": 1}}}
        with pytest.raises(ProfileError, match=f"profile {provider}:default: option priority is for RabbitMQ"):
            async with running(wrong):
                pass


# ---- the whole road


async def test_an_event_that_expires_while_rabbitmq_is_away_is_not_sent_when_it_is_back(rabbitmq, fresh_name):
    profiles = {"amqp": {"default": rabbit(rabbitmq)}}
    async with running(profiles) as hub:
        async with channel(rabbitmq.url) as opened:
            await opened.declare_queue(fresh_name, durable=True)
        await hub.evbus.broker.put(fresh_name, "before", confirm="delivered")
        await asyncio.to_thread(rabbitmq.kill)
        await hub.evbus.broker.put(fresh_name, "late", expires=0.2)
        await hub.evbus.broker.put(fresh_name, "in time", expires=HOUR)
        await eventually(lambda: hub.evbus.init.account().expired == 1)
        await asyncio.to_thread(rabbitmq.start)
        await eventually(lambda: hub.evbus.init.account().delivered == 2)
        account = hub.evbus.init.account()
        async with await aio_pika.connect(rabbitmq.url) as connection:
            made = await (await connection.channel()).declare_queue(fresh_name, durable=True)
            bodies = [json.loads(message.body) for message in await take(made, 2)]
    assert bodies == ["before", "in time"]
    assert (account.expired, account.balanced) == (1, True)

"""What plain aio-pika sees of our messages, and the exchanges that they go through."""

import time

import aio_pika
import pytest

from evbus_like.errors import NotDelivered
from evbus_like.testing import running
from tests.integration.support import channel, queue, take, until

BOTH_WAYS = pytest.mark.parametrize("batched", [True, False], ids=["batched", "one by one"])


def profile(rabbitmq, **options):
    return {"amqp": {"default": {"connection": {"url": rabbitmq.url}, **options}}}


@BOTH_WAYS
async def test_a_message_says_what_was_put_and_when_and_is_persistent(rabbitmq, fresh_name, batched):
    before = int(time.time())
    async with queue(rabbitmq.url, fresh_name) as made, running(profile(rabbitmq, batched=batched)) as hub:
        headers = {"tenant": "blue", "attempt": 3}
        receipt = await hub.evbus.broker.put(fresh_name, {"n": 1}, headers=headers, confirm="delivered")
        (message,) = await take(made, 1)
    assert message.message_id == receipt.id
    assert message.headers == headers
    assert before <= message.timestamp.timestamp() <= time.time()
    assert message.content_type == "application/json"
    assert message.app_id is None
    assert message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
    assert message.routing_key == fresh_name
    assert message.exchange == ""
    assert message.body == b'{"n":1}'


@BOTH_WAYS
async def test_a_profile_can_name_the_application_repeat_the_id_and_give_up_persistence(rabbitmq, fresh_name, batched):
    options = {"app_id": "shop", "id_header": "evbus-id", "persistent": False, "batched": batched}
    async with queue(rabbitmq.url, fresh_name) as made, running(profile(rabbitmq, **options)) as hub:
        receipt = await hub.evbus.broker.put(fresh_name, 1, confirm="delivered")
        (message,) = await take(made, 1)
    assert message.app_id == "shop"
    assert message.headers == {"evbus-id": receipt.id}
    assert message.message_id == receipt.id
    assert message.delivery_mode == aio_pika.DeliveryMode.NOT_PERSISTENT


BINDINGS = {
    "topic": {"routing_key": "order.*"},
    "direct": {"routing_key": "order.paid"},
    "fanout": {},
    "headers": {"arguments": {"x-match": "all", "kind": "order"}},
}


@BOTH_WAYS
@pytest.mark.parametrize(("kind", "binding"), BINDINGS.items(), ids=BINDINGS)
async def test_a_declared_exchange_of_each_type_routes_our_events(rabbitmq, fresh_name, kind, binding, batched):
    options = {"exchange": fresh_name, "declare": {"type": kind, "durable": False}, "batched": batched}
    async with running(profile(rabbitmq, **options)) as hub:
        await until(hub, "amqp:default", "open")
        async with queue(rabbitmq.url, fresh_name, fresh_name, **binding) as made:
            await hub.evbus.broker.put("order.paid", 1, headers={"kind": "order"}, confirm="delivered")
            (message,) = await take(made, 1)
            if kind != "fanout":
                with pytest.raises(NotDelivered, match=f"{fresh_name}.*'bill'"):
                    await hub.evbus.broker.put("bill", 2, headers={"kind": "bill"}, confirm="delivered")
    assert (message.exchange, message.routing_key) == (fresh_name, "order.paid")
    await delete(rabbitmq, fresh_name)


async def test_a_declared_exchange_is_a_durable_topic_exchange_unless_told_otherwise(rabbitmq, fresh_name):
    async with running(profile(rabbitmq, exchange=fresh_name, declare={})) as hub:
        await until(hub, "amqp:default", "open")
        async with channel(rabbitmq.url) as opened:
            await opened.declare_exchange(fresh_name, "topic", durable=True)  # refused where it differs
    await delete(rabbitmq, fresh_name)


async def test_without_mandatory_an_event_that_no_queue_wants_vanishes(rabbitmq, fresh_name):
    async with running(profile(rabbitmq, mandatory=False)) as hub:
        assert (await hub.evbus.broker.put(fresh_name, 1, confirm="delivered")).delivered


@pytest.mark.parametrize("provider", ["amqp", "pika", "rabbitmq"])
async def test_every_name_of_the_provider_reaches_rabbitmq(rabbitmq, fresh_name, provider):
    profiles = {provider: profile(rabbitmq)["amqp"]}
    async with queue(rabbitmq.url, fresh_name) as made, running(profiles) as hub:
        await hub.evbus.broker.put(fresh_name, 1, confirm="delivered")
        assert len(await take(made, 1)) == 1


async def test_a_connection_by_keywords_works_as_one_by_url(rabbitmq, fresh_name):
    connection = {"host": rabbitmq.host, "port": rabbitmq.port, "login": "guest", "password": "guest", "heartbeat": 30}
    profiles = {"pika": {"default": {"connection": connection, "routing_key": fresh_name, "exchange": "default"}}}
    async with queue(rabbitmq.url, fresh_name) as made, running(profiles) as hub:
        await hub.evbus.broker.put(body={"as": "evbus-pika"}, confirm="delivered")
        assert [message.body for message in await take(made, 1)] == [b'{"as":"evbus-pika"}']


async def delete(rabbitmq, exchange):
    async with channel(rabbitmq.url) as opened:
        await opened.exchange_delete(exchange)

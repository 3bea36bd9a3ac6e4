"""The key of an event on its way from `dispatch` to a handler."""

import pytest

from evbus_like.testing import eventually, running
from tests.integration.sources import handler, on_hub
from tests.integration.support import channel, create_topic, queue, take

KEYS = ["customer-7", "größe", b"bytes", b"\xff\x00"]
ARRIVE = ["customer-7", "größe", "bytes", b"\xff\x00"]


async def arrived(profiles, service, keys):
    """Dispatch an event with each key, and give the key and the headers of those that a handler gets."""
    seen = {}

    async def take(event):
        seen[event.body] = event.key, event.headers

    async with running(profiles) as hub, on_hub(hub, profiles, handler(take, service, prefetch=100)):
        for number, key in enumerate(keys):
            await hub.evbus.broker.dispatch(service, "created", number, key=key, confirm="delivered")
        await eventually(lambda: len(seen) == len(keys))
    return [seen[number] for number in range(len(keys))]


@pytest.mark.parametrize("batched", [True, False], ids=["batched", "one by one"])
async def test_rabbitmq_carries_keys_in_a_header_that_handlers_see_as_the_key(rabbitmq, fresh_name, batched):
    data = {"connection": {"url": rabbitmq.url}, "batched": batched}
    events = await arrived({"amqp": {"default": data}}, fresh_name, [*KEYS, None, ""])
    assert [key for key, _ in events] == [*ARRIVE, None, None]
    assert not any("evbus-key" in headers for _, headers in events)


async def test_memory_carries_keys(fresh_name):
    assert [key for key, _ in await arrived({"internal": {"default": None}}, fresh_name, [*KEYS, None])] == [
        *ARRIVE,
        None,
    ]


async def test_kafka_gives_the_type_to_events_without_a_key(kafka, fresh_name):
    await create_topic(kafka.bootstrap, f"{fresh_name}.events")
    data = {"connection": {"bootstrap_servers": kafka.bootstrap}}
    events = await arrived({"kafka": {"default": data}}, fresh_name, [*KEYS, None])
    assert [key for key, _ in events] == [*ARRIVE, "created"]


async def test_other_programs_see_the_key_of_a_message_as_a_header_of_text(rabbitmq, fresh_name):
    profiles = {"amqp": {"default": {"connection": {"url": rabbitmq.url}, "exchange": fresh_name, "declare": {}}}}
    async with channel(rabbitmq.url) as opened:
        await opened.declare_exchange(fresh_name, "topic", durable=True)
    async with queue(rabbitmq.url, fresh_name, fresh_name, routing_key="#") as made, running(profiles) as hub:
        await hub.evbus.broker.put("created", 1, key=b"customer-7", headers={"evbus-key": "other", "n": 1})
        (message,) = await take(made, 1)
        await made.channel.exchange_delete(fresh_name)
    assert message.headers == {"evbus-key": "customer-7", "n": 1}

"""One event, several destinations: equal bodies, one serialization, and no destination blocks another."""

import gzip
import json
from collections import defaultdict
from pathlib import Path

import pytest

import evbus_like
from evbus_like.testing import eventually, running
from tests.brokers.ports import free_port
from tests.integration.support import create_topic, queue, read, status, take, until

WEBHOOKS = Path(evbus_like.__file__).parent / "data" / "github-webhooks.ndjson.gz"


@pytest.fixture
def profiles(rabbitmq, kafka, fresh_name):
    """Three destinations for the profile `default`: RabbitMQ, Kafka and memory."""
    return {
        "amqp": {"default": {"connection": {"url": rabbitmq.url}, "routing_key": fresh_name}},
        "kafka": {"default": {"connection": {"bootstrap_servers": kafka.bootstrap}, "topics": [fresh_name]}},
        "internal": {"default": {"routing_key": fresh_name}},
    }


class Counted:
    """A body that counts how often it is serialized."""

    dumps = 0

    def __to_bus__(self):
        Counted.dumps += 1
        return {"žába": [1, 2.5, True]}


async def test_one_event_is_serialized_once_and_reaches_three_destinations_with_equal_bytes(
    rabbitmq, kafka, fresh_name, profiles
):
    async with queue(rabbitmq.url, fresh_name) as made, running(profiles) as hub:
        receipt = await hub.evbus.broker.put("any", Counted(), confirm="delivered")
        (message,) = await take(made, 1)
        (record,) = await read(kafka.bootstrap, fresh_name, 1)
        body = (await hub.ingress.internal.get(fresh_name)).get_nowait()
    assert set(receipt.outcomes) == {"amqp:default", "kafka:default", "internal:default"}
    assert message.body == record.value == body == '{"žába":[1,2.5,true]}'.encode()
    assert Counted.dumps == 1
    assert message.message_id == dict(record.headers)["evbus-id"].decode() == receipt.id


async def test_each_destination_gets_the_bytes_of_its_own_serializer(rabbitmq, kafka, fresh_name, profiles):
    for provider, serializer in (("amqp", "msgpack"), ("kafka", "yaml")):
        profiles[provider]["default"]["serializer"] = serializer
    async with queue(rabbitmq.url, fresh_name) as made, running(profiles) as hub:
        await hub.evbus.broker.put("any", {"a": 1}, confirm="delivered")
        (message,) = await take(made, 1)
        (record,) = await read(kafka.bootstrap, fresh_name, 1)
    assert (message.body, message.content_type) == (b"\x81\xa1a\x01", "application/msgpack")
    assert (record.value, dict(record.headers)["content-type"]) == (b"a: 1\n", b"application/yaml")


@pytest.mark.parametrize("dead", ["amqp", "kafka"])
async def test_a_dead_destination_does_not_stop_the_others(rabbitmq, kafka, fresh_name, profiles, dead):
    nobody = f"127.0.0.1:{free_port()}"
    connections = {"amqp": {"url": f"amqp://{nobody}/"}, "kafka": {"bootstrap_servers": nobody}}
    profiles[dead]["default"]["connection"] = connections[dead]
    await create_topic(kafka.bootstrap, fresh_name)
    async with queue(rabbitmq.url, fresh_name) as made, running(profiles) as hub:
        for number in range(100):
            await hub.evbus.broker.put("any", number)
        assert nobody in await until(hub, f"{dead}:default", "retrying")
        await eventually(lambda: hub.evbus.init.account().delivered == 200)
        assert status(hub, f"{dead}:default")["waiting"] == 100
        arrived = await (take(made, 100) if dead == "kafka" else read(kafka.bootstrap, fresh_name, 100))
        account = await hub.evbus.init.stop(5.0)
    assert [int(getattr(item, "value", None) or item.body) for item in arrived] == list(range(100))
    assert account.balanced
    assert (account.delivered, account.remaining) == (200, 100)


async def test_329_webhooks_reach_both_brokers_with_equal_bodies(rabbitmq, kafka, fresh_name):
    events = [json.loads(line) for line in gzip.decompress(WEBHOOKS.read_bytes()).splitlines()]
    exchange = {"exchange": fresh_name, "declare": {"type": "topic", "durable": False, "auto_delete": True}}
    profiles = {
        "amqp": {"default": {"connection": {"url": rabbitmq.url}, **exchange}},
        "kafka": {"default": {"connection": {"bootstrap_servers": kafka.bootstrap}, "topics": [fresh_name]}},
    }
    async with running(profiles) as hub:
        await until(hub, "amqp:default", "open")
        async with queue(rabbitmq.url, fresh_name, fresh_name, routing_key="github.#") as made:
            for event in events:
                await hub.evbus.broker.put(**event)
            account = await hub.evbus.init.stop()
            messages = await take(made, 329)
    records = await read(kafka.bootstrap, fresh_name, 329)
    sent = [(event["routing_key"], event["body"]) for event in events]
    assert len(sent) == 329
    assert account.complete
    assert [(message.routing_key, json.loads(message.body)) for message in messages] == sent
    assert by_key((record.key.decode(), json.loads(record.value)) for record in records) == by_key(sent)
    assert {message.message_id: message.body for message in messages} == {
        dict(record.headers)["evbus-id"].decode(): record.value for record in records
    }


def by_key(pairs):
    grouped = defaultdict(list)
    for key, body in pairs:
        grouped[key].append(body)
    return grouped

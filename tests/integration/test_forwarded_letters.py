"""Dead letters that go to another profile of a real broker, whatever the event held that they are made of."""

import pytest

from evbus_like.testing import running
from tests.integration.support import create_topic, queue, read, take


@pytest.fixture
def headers():
    """As large together as RabbitMQ's profile takes."""
    return {"tenant": "blue", "CD": "x", **{f"h{number}": "x" * 12_600 for number in range(9)}}


async def given_up(profiles, name, headers):
    """Put an event that no queue of RabbitMQ wants, to a profile that forwards its dead letters."""
    async with running(profiles) as hub:
        await hub.evbus.broker.put(f"{name}.nowhere", {"n": 1}, profile="orders", headers=headers)
        account = await hub.evbus.init.stop(30.0)
    assert (account.dead_lettered, account.delivered, account.remaining) == (1, 1, 0)


async def test_an_event_whose_headers_nearly_fill_a_frame_arrives_at_rabbitmq_as_a_marked_dead_letter(
    rabbitmq, fresh_name, headers
):
    connection = {"url": rabbitmq.url}
    async with queue(rabbitmq.url, fresh_name) as dead:
        failed = {"connection": connection, "routing_key": fresh_name}
        orders = {"connection": connection, "dead_letter": "failed"}
        await given_up({"amqp": {"orders": orders, "failed": failed}}, fresh_name, headers)
        (letter,) = await take(dead, 1)
    assert (letter.body, letter.headers["tenant"]) == (b'{"n":1}', "blue")
    assert letter.headers["evbus-dead-cut"] == "headers 1"
    assert "no queue is bound" in letter.headers["evbus-dead-reason"]


async def test_a_dead_letter_without_room_in_a_topic_s_limit_arrives_there_without_its_headers(
    rabbitmq, kafka, fresh_name, headers
):
    await create_topic(kafka.bootstrap, fresh_name, partitions=1, max_message_bytes="20000")
    failed = {"connection": {"bootstrap_servers": kafka.bootstrap}, "topics": [fresh_name]}
    orders = {"connection": {"url": rabbitmq.url}, "dead_letter": "failed"}
    profiles = {"amqp": {"orders": orders}, "kafka": {"failed": failed}}
    async with running(profiles) as hub:
        await hub.evbus.broker.put("k", 1, profile="failed", confirm="delivered")  # its limit is known then
        await hub.evbus.broker.put(f"{fresh_name}.nowhere", {"n": 1}, profile="orders", headers=headers)
        account = await hub.evbus.init.stop(30.0)
    assert (account.dead_lettered, account.delivered, account.remaining) == (1, 2, 0)
    (_, letter) = await read(kafka.bootstrap, fresh_name, 2)
    found = dict(letter.headers)
    assert (letter.value, found["evbus-dead-cut"]) == (b'{"n":1}', b"headers 11")
    assert "h1" not in found

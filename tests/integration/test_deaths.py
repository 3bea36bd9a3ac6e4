"""`evbus run`: an event that kills its worker each time is set aside, and those behind it are handled."""

import asyncio
import json

import aio_pika
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from evbus_like.testing import eventually
from tests.integration.commands import start_evbus, write_credentials
from tests.integration.support import channel, create_topic, lengths, read

HANDLER = """
import os, pathlib
import evbus_like.handlers as evbus

@evbus.handler("{source}", "placed")
async def take(hub, event):
    if event.body == "kills":
        os.kill(os.getpid(), 9)
    with open("handled", "a") as handled:
        handled.write(event.body + "\\n")
"""


@pytest.fixture
def application(tmp_path, fresh_name, monkeypatch):
    """An application whose handler is killed by one event."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "shop" / "handler").mkdir(parents=True)
    (tmp_path / "shop" / "conf.py").write_text('DYNE = {"handler": ["handler"]}\n')
    (tmp_path / "shop" / "__init__.py").write_text("")
    (tmp_path / "shop" / "handler" / "shipping.py").write_text(HANDLER.format(source=fresh_name))
    return tmp_path


async def deaths_until(folder, is_done):
    """Start workers until one has nothing more to do; returns how many ended before."""
    deaths, handled = 0, folder / "handled"
    while deaths < 8:
        process = start_evbus(folder, "run")
        try:
            ended = asyncio.create_task(asyncio.to_thread(process.communicate))
            while not ended.done() and not await is_done():  # noqa: ASYNC110 - the broker is asked
                await asyncio.sleep(0.1)
            if not ended.done():
                await eventually(lambda: handled.exists() and {"a", "b", "c"} <= set(handled.read_text().split()))
                return deaths
            deaths += 1
        finally:
            process.kill()
            await ended
    raise AssertionError("the event was not set aside")


async def test_an_event_that_kills_its_worker_each_time_is_set_aside_and_the_others_are_handled(
    rabbitmq, application, fresh_name
):
    write_credentials(application, {"amqp": {"default": {"connection": {"url": rabbitmq.url}}}})
    queue = f"evt-{fresh_name}-placed--shipping.take"
    async with channel(rabbitmq.url) as opened:
        exchange = await opened.declare_exchange(f"{fresh_name}.events", "topic", durable=True)
        await (await opened.declare_queue(queue, durable=True)).bind(exchange, "placed")
        for body in ("a", "kills", "b", "c"):
            message = aio_pika.Message(json.dumps(body).encode(), content_type="application/json", message_id=body)
            await exchange.publish(message, "placed")

        async def is_done():
            return (await lengths(opened, queue))[1] > 0

        deaths = await deaths_until(application, is_done)
        letter = await (await opened.get_queue(f"{queue}.dead")).get(no_ack=True)
    assert deaths == 3
    assert letter.body == b'"kills"'
    assert "its worker ended 3 times while it was handled" in letter.headers["evbus-dead-reason"]


async def test_an_event_of_kafka_that_kills_its_worker_each_time_is_set_aside_and_the_others_are_handled(
    kafka, application, fresh_name
):
    options = {"connection": {"bootstrap_servers": kafka.bootstrap}, "session_timeout": 6}
    write_credentials(application, {"kafka": {"default": options}})
    topic, dead = f"{fresh_name}.events", f"evt-{fresh_name}-placed--shipping.take.dead"
    await create_topic(kafka.bootstrap, topic, partitions=1)
    await create_topic(kafka.bootstrap, dead, partitions=1)
    source = HANDLER.format(source=fresh_name).replace('"placed")', '"placed", since="earliest")')
    (application / "shop" / "handler" / "shipping.py").write_text(source)
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap) as producer:
        for body in ("a", "kills", "b", "c"):
            headers = [("evbus-routing-key", b"placed"), ("content-type", b"application/json")]
            await producer.send_and_wait(topic, json.dumps(body).encode(), headers=headers)
    async with AIOKafkaConsumer(dead, bootstrap_servers=kafka.bootstrap) as consumer:
        (partition,) = consumer.assignment()

        async def is_done():
            return (await consumer.end_offsets([partition]))[partition] > 0

        deaths = await deaths_until(application, is_done)
    assert deaths == 3
    (letter,) = await read(kafka.bootstrap, dead, 1)
    assert letter.value == b'"kills"'
    assert b"its worker ended 3 times while it was handled" in dict(letter.headers)["evbus-dead-reason"]

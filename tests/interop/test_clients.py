"""pika, kombu, confluent-kafka and FastStream on the other side of the wire, in both directions."""

import asyncio
import json
import sys
from contextlib import asynccontextmanager

import pytest

from evbus_like.testing import eventually, running
from tests.integration.sources import handler, receiving
from tests.integration.support import DEADLINE, create_topic, queue
from tests.interop.foreign import need
from tests.interop.test_cloudevents import consume, pika_channel, produce, take

BODY = {"name": "é", "id": 7, "big": 2**53}


def amqp(rabbitmq, **options):
    return {"amqp": {"default": {"connection": {"url": rabbitmq.url}, **options}}}


def on_kafka(kafka, **options):
    return {"kafka": {"default": {"connection": {"bootstrap_servers": kafka.bootstrap}, **options}}}


@asynccontextmanager
async def recording(profiles, service, types="placed", **options):
    """Run a handler, and give the list of the events that it gets."""
    events = []

    async def record(event):
        events.append(event)

    async with receiving(profiles, handler(record, service, types, **options)):
        yield events


# ---- pika


async def test_pika_reads_what_is_put_with_its_id_headers_and_time(rabbitmq, fresh_name):
    need("pika")
    async with running(amqp(rabbitmq)) as hub:
        await hub.evbus.broker.dispatch(fresh_name, "nothing", 0, confirm="delivered")  # declares the exchange
        async with queue(rabbitmq.url, f"{fresh_name}-q", f"{fresh_name}.events", routing_key="placed"):
            headers = {"tenant": "north", "n": 7, "list": ["a", "b"], "raw": b"\xff"}
            receipt = await hub.evbus.broker.dispatch(fresh_name, "placed", BODY, headers=headers, key="k")
            properties, body = await asyncio.to_thread(take, rabbitmq.url, f"{fresh_name}-q")
    assert json.loads(body) == BODY
    assert (properties.content_type, properties.message_id, properties.delivery_mode) == (
        *("application/json", receipt.id),
        2,
    )
    assert {name: properties.headers[name] for name in headers} == headers
    assert (properties.headers["evbus-service"], properties.headers["evbus-key"]) == (fresh_name, "k")


async def test_a_handler_reads_what_pika_sends_also_without_a_content_type(rabbitmq, fresh_name):
    pika = need("pika")
    sent = [
        pika.BasicProperties(content_type="application/json", message_id="m", headers={"n": 1}, correlation_id="c"),
        pika.BasicProperties(),
    ]

    def publish():
        with pika_channel(rabbitmq.url) as channel:
            for properties in sent:
                channel.basic_publish(f"{fresh_name}.events", "placed", json.dumps(BODY).encode(), properties)

    async with recording(amqp(rabbitmq, default_format="json"), fresh_name, max_workers=1) as events:
        await asyncio.to_thread(publish)
        await eventually(lambda: len(events) == 2)
    assert [event.body for event in events] == [BODY] * 2
    assert (events[0].id, events[0].headers, events[0].correlation_id) == ("m", {"n": 1}, "c")
    assert (events[1].id, events[1].headers) == ("", {})


# ---- kombu


def kombu_publish(url, place, bodies):
    """Publish bodies, (body, options) each, with kombu's producer."""
    kombu = need("kombu")
    with kombu.Connection(url) as connection:
        producer = connection.Producer(exchange=kombu.Exchange(place, "topic", durable=True))
        for body, options in bodies:
            producer.publish(body, routing_key="placed", retry=True, **options)


def kombu_take(url, name):
    """Take a message off a queue with kombu: (its decoded payload, its headers)."""
    kombu = need("kombu")
    with kombu.Connection(url) as connection:
        simple = connection.SimpleQueue(kombu.Queue(name, no_declare=True))
        message = simple.get(timeout=DEADLINE)
        message.ack()
        simple.close()
        return message.payload, message.headers


async def test_a_handler_reads_kombu_s_formats_and_compressions_and_unpickles_nothing(rabbitmq, fresh_name):
    sent = [(BODY, {"serializer": each}) for each in ("json", "msgpack")]
    sent += [(BODY, {"serializer": "json", "compression": each}) for each in ("gzip", "zlib")]
    sent += [("text é", {"content_type": "text/plain", "content_encoding": "utf-8"}), (b"\xff", {})]
    sent += [(BODY, {"serializer": "pickle"})]
    async with recording(amqp(rabbitmq), fresh_name, max_workers=1) as events:
        await asyncio.to_thread(kombu_publish, rabbitmq.url, f"{fresh_name}.events", sent)
        await eventually(lambda: len(events) == len(sent))
    assert [event.body for event in events[:6]] == [*[BODY] * 4, "text é", b"\xff"]
    assert isinstance(events[6].body, bytes)
    assert events[6].content_type == "application/x-python-serialize"


async def test_a_handler_that_accepts_yaml_reads_kombu_s(rabbitmq, fresh_name):
    async with recording(amqp(rabbitmq), fresh_name, accept=("yaml",)) as events:
        sent = [(BODY, {"serializer": "yaml"})]
        await asyncio.to_thread(kombu_publish, rabbitmq.url, f"{fresh_name}.events", sent)
        await eventually(lambda: len(events) == 1)
    assert (events[0].body, events[0].content_type) == (BODY, "application/x-yaml")


@pytest.mark.parametrize("serializer", ["json", "str"])
async def test_kombu_reads_what_is_put(rabbitmq, fresh_name, serializer):
    need("kombu")
    body = BODY if serializer == "json" else "text é"
    async with running(amqp(rabbitmq, serializer=serializer)) as hub:
        await hub.evbus.broker.dispatch(fresh_name, "nothing", "", confirm="delivered")
        async with queue(rabbitmq.url, f"{fresh_name}-q", f"{fresh_name}.events", routing_key="placed"):
            await hub.evbus.broker.dispatch(fresh_name, "placed", body, headers={"n": 1})
            found, headers = await asyncio.to_thread(kombu_take, rabbitmq.url, f"{fresh_name}-q")
    assert (found, headers["n"]) == (body, 1)


# ---- confluent-kafka


async def test_confluent_kafka_reads_what_is_put_repeated_headers_and_tombstones_among_it(kafka, fresh_name):
    need("confluent_kafka")
    topic = f"{fresh_name}.events"
    await create_topic(kafka.bootstrap, topic, partitions=1)
    async with running(on_kafka(kafka, tombstones=True)) as hub:
        headers = {"trace": ["a", "b"], "n": 7}
        receipt = await hub.evbus.broker.dispatch(fresh_name, "placed", BODY, headers=headers, key="k")
        await hub.evbus.broker.dispatch(fresh_name, "placed", None, key="k", confirm="delivered")
    record, tombstone = await asyncio.to_thread(consume, kafka.bootstrap, topic, 2)
    assert (json.loads(record.value()), record.key(), tombstone.value(), tombstone.key()) == (BODY, b"k", None, b"k")
    found = record.headers()
    assert [value for name, value in found if name == "trace"] == [b"a", b"b"]
    assert dict(found)["evbus-id"] == receipt.id.encode()
    assert dict(found)["content-type"] == b"application/json"


async def test_a_handler_reads_what_confluent_kafka_sends(kafka, fresh_name):
    topic, raw = f"{fresh_name}.events", json.dumps(BODY).encode()
    await create_topic(kafka.bootstrap, topic, partitions=1)
    sent = [
        (b"placed", raw, []),
        (b"k", raw, [("evbus-routing-key", b"placed"), ("trace", b"a"), ("trace", b"b"), ("none", None)]),
        (b"placed", None, []),
        (b"other", raw, []),
    ]
    async with recording(on_kafka(kafka, default_format="json"), fresh_name) as events:
        await asyncio.to_thread(produce, kafka.bootstrap, topic, sent)
        await eventually(lambda: len(events) == 3)
    by_key = {(event.key, event.body is None): event for event in events}
    assert by_key["placed", False].body == by_key["k", False].body == BODY
    assert by_key["placed", True].body is None
    assert by_key["k", False].headers == {"trace": ["a", "b"], "none": None}


async def test_a_tombstone_and_a_list_that_are_put_reach_a_handler_as_they_were_put(kafka, fresh_name):
    await create_topic(kafka.bootstrap, f"{fresh_name}.events", partitions=1)
    profiles = on_kafka(kafka, tombstones=True)
    async with recording(profiles, fresh_name) as events, running(profiles) as hub:
        await hub.evbus.broker.dispatch(fresh_name, "placed", None, headers={"trace": ["a", "b"]}, key="k")
        await eventually(lambda: len(events) == 1)
    (event,) = events
    assert (event.body, event.raw, event.key) == (None, b"", "k")
    assert event.headers["trace"] == ["a", "b"]


# ---- FastStream


@asynccontextmanager
async def faststream(*arguments):
    """Run FastStream as another program, and give a function that waits for its next line of a kind."""
    need("faststream")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "ignore", "-m", "tests.interop.fast_stream", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )

    async def says(kind):
        async with asyncio.timeout(DEADLINE):
            while line := await process.stdout.readline():
                if kind in (found := json.loads(line)):
                    return found[kind]
        raise AssertionError(f"FastStream ended without {kind}")

    try:
        yield says
    finally:
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 20)
        except TimeoutError:
            process.kill()
            await process.wait()


async def test_faststream_and_handlers_read_each_other_over_rabbitmq(rabbitmq, fresh_name):
    profiles = amqp(rabbitmq)
    async with (
        recording(profiles, fresh_name, "theirs") as events,
        running(profiles) as hub,
        faststream("rabbit", rabbitmq.url, f"{fresh_name}.events", "ours", "theirs") as says,
    ):
        assert await says("ready")
        await hub.evbus.broker.dispatch(fresh_name, "ours", BODY)
        assert await says("received") == BODY
        await eventually(lambda: len(events) == 1)
    assert (events[0].body, events[0].content_type) == ({"from": "faststream"}, "application/json")
    assert events[0].correlation_id


async def test_faststream_and_handlers_read_each_other_over_kafka(kafka, fresh_name):
    profiles, topic = on_kafka(kafka), f"{fresh_name}.events"
    await create_topic(kafka.bootstrap, topic, partitions=1)
    async with recording(profiles, fresh_name, "theirs") as events, running(profiles) as hub:
        await hub.evbus.broker.dispatch(fresh_name, "ours", BODY, confirm="delivered")
        async with faststream("kafka", kafka.bootstrap, topic, "ours", "theirs") as says:
            assert await says("received") == BODY
            await eventually(lambda: len(events) == 1)
    assert events[0].body == {"from": "faststream"}

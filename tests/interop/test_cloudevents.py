"""CloudEvents between evbus_like and the SDK of CloudEvents, over real brokers, with pika and confluent-kafka."""

import asyncio
import json
from contextlib import contextmanager

import pytest

from evbus_like.testing import eventually, running
from tests.integration.sources import handler, receiving, stats_of
from tests.integration.support import DEADLINE, create_topic, queue
from tests.interop.foreign import need

BODY = {"name": "é", "id": 7}
OWN = {"tenant": "north", "vip": True, "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}


@contextmanager
def pika_channel(url):
    """A channel of pika's blocking client."""
    pika = need("pika")
    connection = pika.BlockingConnection(pika.URLParameters(url))
    try:
        yield connection.channel()
    finally:
        connection.close()


def take(url, name):
    """Take a message off a queue with pika: (properties, body)."""
    with pika_channel(url) as channel:
        _, properties, body = next(channel.consume(name, auto_ack=True, inactivity_timeout=DEADLINE))
        channel.cancel()
    return properties, body


def publish(url, exchange, routing_key, messages):
    """Publish messages of the SDK, (content type, headers, body) each, with pika."""
    pika = need("pika")
    with pika_channel(url) as channel:
        for content_type, headers, body in messages:
            properties = pika.BasicProperties(content_type=content_type, headers=headers)
            channel.basic_publish(exchange, routing_key, body, properties)


def consume(bootstrap, topic, count=1):
    """Read the first records of a topic with confluent-kafka."""
    kafka = need("confluent_kafka")
    settings = {"bootstrap.servers": bootstrap, "group.id": f"{topic}-reader", "auto.offset.reset": "earliest"}
    consumer = kafka.Consumer(settings)
    consumer.subscribe([topic])
    try:
        records = [consumer.poll(DEADLINE) for _ in range(count)]
        assert not any(record is None or record.error() for record in records)
        return records
    finally:
        consumer.close()


def produce(bootstrap, topic, records):
    """Produce records, (key, value, headers) each, with confluent-kafka."""
    kafka = need("confluent_kafka")
    producer = kafka.Producer({"bootstrap.servers": bootstrap})
    for key, value, headers in records:
        producer.produce(topic, value, key, headers=headers)
    assert producer.flush(DEADLINE) == 0


def made(data=BODY, **attributes):
    """An event of the SDK."""
    event = need("cloudevents.core.v1.event")
    return event.CloudEvent({"type": "placed", "source": "/shop", "subject": "7", **OWN, **attributes}, data)


@pytest.mark.parametrize("kind", ["cloudevents", "cloudevents-structured", "ce-", "cloudEvents:"])
async def test_the_sdk_reads_what_is_put_to_rabbitmq(rabbitmq, fresh_name, kind):
    amqp, knative = need("cloudevents.core.bindings.amqp", "cloudevents.core.bindings.rabbitmq")
    profile = {"connection": {"url": rabbitmq.url}, "format": kind if kind.startswith("cloudevents") else "cloudevents"}
    profile |= {} if profile["format"] == kind else {"cloudevents_prefix": kind}
    async with running({"amqp": {"default": profile}}) as hub:
        await hub.evbus.broker.dispatch(fresh_name, "nothing", 0, confirm="delivered")  # declares the exchange
        async with queue(rabbitmq.url, f"{fresh_name}-q", f"{fresh_name}.events", routing_key="placed"):
            receipt = await hub.evbus.broker.dispatch(fresh_name, "placed", BODY, headers=OWN, key="k-7")
            properties, body = await asyncio.to_thread(take, rabbitmq.url, f"{fresh_name}-q")
    if kind == "ce-":
        event = knative.from_rabbitmq_event(
            knative.RabbitMQMessage(_texts(properties.headers), properties.content_type, body)
        )
    else:
        event = amqp.from_amqp_event(
            amqp.AMQPMessage({"content-type": properties.content_type}, properties.headers, body)
        )
    assert event.get_data() == BODY
    assert (event.get_id(), event.get_source(), event.get_type()) == (receipt.id, fresh_name, "placed")
    assert (event.get_datacontenttype(), event.get_subject()) == ("application/json", "k-7")
    assert abs(event.get_time().timestamp() - properties.timestamp) < 2
    for name, value in OWN.items():
        assert str(event.get_extension(name)).lower() == str(value).lower()


def _texts(headers):
    return {name: str(value) for name, value in headers.items()}


async def test_handlers_read_what_the_sdk_sends_over_rabbitmq_in_every_form(rabbitmq, fresh_name):
    amqp, knative = need("cloudevents.core.bindings.amqp", "cloudevents.core.bindings.rabbitmq")
    events, sent = [], []
    for number, (binding, mode) in enumerate((b, m) for b in (amqp, knative) for m in ("binary", "structured")):
        content = dict.fromkeys(["datacontenttype"], "application/json")
        message = getattr(binding, f"to_{mode}_event")(made(id=str(number), **content))
        if binding is amqp:
            properties = message.properties["content-type"], message.application_properties, message.application_data
        else:
            properties = message.content_type, message.headers, message.body
        sent.append(properties)

    async def record(event):
        events.append(event)

    profile = {"amqp": {"default": {"connection": {"url": rabbitmq.url}}}}
    async with receiving(profile, handler(record, fresh_name, "placed", dedup=100)):
        await asyncio.to_thread(publish, rabbitmq.url, f"{fresh_name}.events", "placed", sent)
        await eventually(lambda: len(events) == 4)
    assert [event.body for event in events] == [BODY] * 4
    assert sorted(event.id for event in events) == ["0", "1", "2", "3"]
    for event in events:
        found = event.cloudevent
        assert (found["type"], found["source"], found["subject"]) == ("placed", "/shop", "7")
        assert found["tenant"] == "north"
        assert str(found["vip"]).lower() == "true"
        assert found["datacontenttype"] == "application/json"
        assert event.headers["traceparent"] == OWN["traceparent"]
        assert event.timestamp > 1_700_000_000


@pytest.mark.parametrize("kind", ["cloudevents", "cloudevents-structured"])
async def test_the_sdk_reads_what_is_put_to_kafka(kafka, fresh_name, kind):
    binding = need("cloudevents.core.bindings.kafka")
    topic = f"{fresh_name}.events"
    await create_topic(kafka.bootstrap, topic, partitions=1)
    profile = {"connection": {"bootstrap_servers": kafka.bootstrap}, "format": kind}
    async with running({"kafka": {"default": profile}}) as hub:
        receipt = await hub.evbus.broker.dispatch(
            fresh_name, "placed", BODY, headers=OWN, key="k-7", confirm="delivered"
        )
    (record,) = await asyncio.to_thread(consume, kafka.bootstrap, topic)
    event = binding.from_kafka_event(binding.KafkaMessage(dict(record.headers()), record.key(), record.value()))
    assert event.get_data() == BODY
    assert (event.get_id(), event.get_source(), event.get_type()) == (receipt.id, fresh_name, "placed")
    assert (event.get_datacontenttype(), event.get_extension("partitionkey")) == ("application/json", "k-7")
    assert str(event.get_extension("vip")).lower() == "true"
    assert event.get_extension("traceparent") == OWN["traceparent"]


async def test_handlers_read_what_the_sdk_sends_over_kafka_by_the_type_of_the_cloudevent(kafka, fresh_name):
    binding = need("cloudevents.core.bindings.kafka")
    topic, events = f"{fresh_name}.events", []
    await create_topic(kafka.bootstrap, topic, partitions=1)
    sent = [binding.to_binary_event(made(id="0", datacontenttype="application/json", partitionkey="k"))]
    sent += [binding.to_structured_event(made(id="1", partitionkey="k"))]
    sent += [binding.to_binary_event(made(id="2", type="other")), binding.to_structured_event(made(id="3", type="o"))]
    records = [(each.key, each.value, list(each.headers.items())) for each in sent]

    async def record(event):
        events.append(event)

    profile = {"kafka": {"default": {"connection": {"bootstrap_servers": kafka.bootstrap}}}}
    async with receiving(profile, handler(record, fresh_name, "placed")):
        await asyncio.to_thread(produce, kafka.bootstrap, topic, records)
        await eventually(lambda: len(events) == 2)
    assert [event.body for event in events] == [BODY] * 2
    assert [(event.id, event.routing_key, event.key) for event in events] == [
        ("0", "placed", "k"),
        ("1", "placed", "k"),
    ]
    assert [event.cloudevent["source"] for event in events] == ["/shop"] * 2
    assert [event.headers["traceparent"] for event in events] == [OWN["traceparent"]] * 2


async def test_a_cloudevent_of_hostile_attributes_is_a_dead_letter_and_its_neighbours_are_handled(
    rabbitmq, fresh_name, caplog
):
    required = {"specversion": "1.0", "id": "1", "source": "/s", "type": "placed"}
    good = "application/cloudevents+json", {}, json.dumps({**required, "data": 1}).encode()
    bad = [
        (good[0], {}, json.dumps({**required, "time": "yesterday"}).encode()),
        (good[0], {}, json.dumps({**required, "specversion": "9"}).encode()),
        (good[0], {}, b"[" * 100_000),
        (good[0], {}, json.dumps({**required, "data_base64": "%"}).encode()),
        ("application/json", {"cloudEvents_specversion": "1.0"}, b"1"),
        ("application/json", {f"ce-{name}": value for name, value in {**required, "id": ""}.items()}, b"1"),
    ]
    bodies = []

    async def record(event):
        bodies.append(event.body)

    profile = {"amqp": {"default": {"connection": {"url": rabbitmq.url}}}}
    async with receiving(profile, handler(record, fresh_name, "placed")) as group:
        await asyncio.to_thread(publish, rabbitmq.url, f"{fresh_name}.events", "placed", [good, *bad, good])
        await eventually(lambda: len(bodies) == 2 and stats_of(group)["dead"] == len(bad))
    assert bodies == [1, 1]
    assert "time must be a time as in RFC 3339" in caplog.text
    assert "without the attribute id" in caplog.text

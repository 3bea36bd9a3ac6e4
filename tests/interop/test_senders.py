"""Odd messages and records of other clients: each is handled, answered or a dead letter, and the next is handled.

kombu and pika send to handlers and services over RabbitMQ; kafka-python and confluent-kafka to handlers over Kafka.
"""

import asyncio
import datetime
import decimal
import functools
import json
import uuid
import warnings
from typing import Any

import confluent_kafka
import kombu
import pika
import pytest

from evbus_like.handlers import REJECT
from evbus_like.testing import eventually
from tests.integration.receiving import RecordingHandler, handle, receiving
from tests.integration.sources import handler, stats_of
from tests.integration.sources import receiving as receiving_from
from tests.integration.support import DEADLINE, channel, create_topic
from tests.rpc import serving

with warnings.catch_warnings():  # kafka-python 3.0 reads its schemas in a way that Python 3.11 calls deprecated
    warnings.simplefilter("ignore")
    import kafka as kafka_python

pytestmark = pytest.mark.filterwarnings("ignore:read_text is deprecated")

NOW = datetime.datetime(2026, 11, 30, 12, 0)
TABLE = {
    "text": "é\u2028",
    "bytes": b"\xff\x00\xfe",
    "true": True,
    "small": -1,
    "short": 40_000,
    "long": 2**31,
    "longest": -(2**63),
    "decimal": decimal.Decimal("-3.14"),
    "time": NOW,
    "nothing": None,
    "list": [1, "two", None, [3], {"four": 4}],
    "table": {"deep": {"deeper": {"deepest": [NOW, decimal.Decimal("0")]}}},
    "": "no name",
    "x" * 255: "a long name",
    "x-delivery-count": -5,
    "x-death": [{"count": 2**40, "queue": "q", "reason": 7, "time": NOW, "routing-keys": [None]}],
    "evbus-attempt": "many",
    "evbus-key": {"a": "table"},
    "evbus-dead-reason": [1],
    "content-encoding": 5,
    "compression": ["application/x-gzip"],
    "traceparent": 7,
    "nameko.call_id_stack": "no list",
    "nameko.locale": {"a": [1]},
}
DEEP: dict[str, Any] = functools.reduce(lambda under, _: {"a": under}, range(60), dict[str, Any]())
GOOD = json.dumps("good").encode()
REQUEST = json.dumps({"args": ["x"], "kwargs": {}}).encode()
PROPERTIES = [
    {"content_type": "application/json", "headers": TABLE},
    {"content_type": "", "content_encoding": "", "headers": {}},
    {"content_type": "application/json; charset=utf-16"},
    {"content_type": "application/json", "content_encoding": "utf-16"},
    {"content_type": "application/json", "content_encoding": "rot13"},
    {"content_type": "application/x-python-serialize", "content_encoding": "binary"},
    {"content_type": "x" * 255, "content_encoding": "gzip, deflate, br, x"},
    {"content_type": "APPLICATION/JSON;charset=;;=", "content_encoding": "IDENTITY"},
    {"content_type": "\u0131mage/\u2028", "content_encoding": "\u0131dentity"},
    {"content_type": "application/json", "message_id": "m" * 255, "correlation_id": "c" * 255, "reply_to": "r" * 255},
    {"content_type": "application/json", "priority": 255, "delivery_mode": 1, "timestamp": 2**63},
    {"content_type": "application/json", "timestamp": 2**64 - 1, "type": "t", "app_id": "a", "cluster_id": "c"},
    {"content_type": "application/json", "user_id": "guest", "expiration": "60000"},
    {"content_type": "application/json", "headers": {f"h{number}": "x" * 100 for number in range(800)}},
    {"content_type": "application/json", "headers": {"deep": DEEP}},
]
BODIES = [GOOD, b"", b"\xff\xfe\x00", b"{" * 5000, b"null", b"\x80\x04K\x01."]


def pika_sends(url, exchange, routing_key, messages):
    """Publish messages, (properties, body) each, with pika."""
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        opened = connection.channel()
        opened.confirm_delivery()
        for properties, body in messages:
            opened.basic_publish(exchange, routing_key, body, pika.BasicProperties(**properties))


KOMBU = [
    *({"serializer": each} for each in ("json", "yaml", "pickle")),
    *({"serializer": "json", "compression": each} for each in ("gzip", "bzip2", "lzma")),
    {"content_type": "application/data", "content_encoding": "binary"},
    {"content_type": "application/json", "content_encoding": "utf-16"},
    {"serializer": "json", "headers": {**TABLE, "float": 1.5, "floats": [-0.0, 1e308]}},
    {"serializer": "json", "priority": 9, "expiration": 60, "correlation_id": "1", "reply_to": "nowhere"},
]
KOMBU_BODIES = ["good", {"when": NOW, "what": decimal.Decimal("1.5"), "id": uuid.UUID(int=7)}, [1, None], 5]


def kombu_sends(url, exchange, routing_key, bodies):
    """Publish bodies in every way that kombu has; returns how many it could send."""
    sent = 0
    with kombu.Connection(url) as connection:
        producer = connection.Producer(exchange=kombu.Exchange(exchange, "topic", passive=True))
        for options in KOMBU:
            for body in bodies:
                raw = {"content_type", "content_encoding"} & options.keys()
                try:
                    producer.publish(json.dumps(body, default=str).encode() if raw else body, routing_key, **options)
                except (kombu.exceptions.EncodeError, TypeError):  # yaml of a Decimal
                    continue
                sent += 1
    return sent


@pytest.mark.parametrize("on_error", ["retry", REJECT], ids=str)
async def test_whatever_kombu_and_pika_send_to_a_handler_is_handled_or_a_dead_letter(rabbitmq, fresh_name, on_error):
    def fail(event):
        if event.body != "good" or event.headers.get("text"):
            raise ValueError("odd")

    seen = RecordingHandler(fail)
    options = {"on_error": REJECT} if on_error == REJECT else {"attempts": 2, "backoff": 0.05}
    profile = {"connection": {"url": rabbitmq.url}}
    async with receiving(profile, handle(seen, fresh_name, "placed", **options)) as worker:
        place = rabbitmq.url, f"{fresh_name}.events", "placed"
        messages = [(properties, body) for properties in PROPERTIES for body in BODIES]
        await asyncio.to_thread(pika_sends, *place, messages)
        sent = len(messages) + await asyncio.to_thread(kombu_sends, *place, KOMBU_BODIES)
        await eventually(lambda: worker.stats().handled + worker.stats().dead == sent, DEADLINE)
        before = worker.stats().handled
        await asyncio.to_thread(pika_sends, *place, [({"content_type": "application/json"}, GOOD)] * 10)
        await eventually(lambda: worker.stats().handled == before + 10, DEADLINE)
        assert (worker.stats().state, worker.stats().lost) == ("open", 0)
        assert before > 0
        letters = worker.stats().dead
    async with channel(rabbitmq.url) as there:
        dead = await there.declare_queue(f"evt-{fresh_name}-placed--shipping.ship.dead", passive=True)
        assert dead.declaration_result.message_count == letters


async def test_headers_of_all_types_of_a_table_reach_a_handler(rabbitmq, fresh_name):
    seen = RecordingHandler()
    async with receiving({"connection": {"url": rabbitmq.url}}, handle(seen, fresh_name, "placed")):
        properties = {
            "content_type": "application/json",
            "headers": {**TABLE, "content-encoding": "", "compression": ""},
        }
        await asyncio.to_thread(pika_sends, rabbitmq.url, f"{fresh_name}.events", "placed", [(properties, GOOD)])
        await seen.wait_for(1)
    (event,) = seen.events
    assert event.body == "good"
    assert {name: event.headers[name] for name in ("text", "true", "long", "longest", "nothing")} == {
        name: TABLE[name] for name in ("text", "true", "long", "longest", "nothing")
    }
    assert bytes(event.headers["bytes"]) == b"\xff\x00\xfe"
    assert event.headers["list"][:2] == [1, "two"]
    assert event.headers["table"]["deep"]["deeper"]["deepest"][1] == "0"


async def test_whatever_kombu_and_pika_send_to_a_service_is_settled_and_calls_are_answered(rabbitmq, app, fresh_name):
    hub = app(f"SERVICE = {fresh_name!r}\n\nasync def hello(hub, value):\n    return value\n")
    profile = {"connection": {"url": rabbitmq.url}, "rpc_exchange": f"rpc-{fresh_name}"}
    async with serving(hub, {"amqp": {"default": profile}}) as hub:
        place = rabbitmq.url, f"rpc-{fresh_name}"
        messages = [(properties, body) for properties in PROPERTIES for body in (REQUEST, *BODIES)]
        sent = 0
        for key in (f"{fresh_name}.hello", f"{fresh_name}.", f"{fresh_name}.__class__"):
            await asyncio.to_thread(pika_sends, *place, key, messages)
            sent += len(messages) + await asyncio.to_thread(kombu_sends, *place, key, [{"args": [1], "kwargs": {}}, 5])
        consumer = hub.evbus.RUNTIME.services.consumers[0]
        await eventually(lambda: consumer.stats.received >= sent and not consumer.pool.settler.open, DEADLINE)
        assert await asyncio.gather(*(hub.rpc[fresh_name].hello(n, timeout=DEADLINE) for n in range(20))) == [
            *range(20)
        ]
        assert (consumer.stats.state, consumer.stats.lost) == ("open", 0)
    async with channel(rabbitmq.url) as there:
        queue = await there.declare_queue(f"rpc-{fresh_name}", passive=True)
        assert queue.declaration_result.message_count == 0


# ---- Kafka

TYPE = ("evbus-routing-key", b"created")
JSON = ("content-type", b"application/json")
RECORDS = [  # key, value, headers
    (None, GOOD, [TYPE, JSON]),
    (b"k", None, [TYPE, JSON]),
    (None, b"", [TYPE]),
    (b"", b"", [TYPE, JSON]),
    (b"\xff\xfe\x00", GOOD, [TYPE, JSON]),
    (b"k" * 100_000, GOOD, [TYPE, JSON]),
    (b"k", GOOD, [TYPE, TYPE, JSON, JSON]),
    (b"k", GOOD, [TYPE, ("content-type", None), ("evbus-id", None), ("traceparent", None), ("evbus-key", None)]),
    (b"k", GOOD, [TYPE, JSON, ("evbus-id", b"\xff\xfe"), ("evbus-id", b"i" * 5000), ("a", b"\x00\xff" * 1000)]),
    (b"k", GOOD, [TYPE, JSON, ("content-encoding", b"\xff"), ("compression", b"application/x-gzip")]),
    (b"k", GOOD, [TYPE, JSON, ("evbus-attempt", b"9" * 400), ("evbus-dead-settled", b"1")]),
    (b"k", GOOD, [TYPE, JSON, *((f"h{number}", b"x" * 10) for number in range(2000))]),
    (b"k", GOOD, [TYPE, JSON, ("é\u2028", b"1"), ("x" * 20_000, b"1")]),
    (b"k", b"{", [TYPE, JSON]),
    (b"k", b"\xdd\xff\xff\xff\xff", [TYPE, ("content-type", b"application/msgpack")]),
    (b"k", b"- &a [*a]", [TYPE, ("content-type", b"application/yaml")]),
    (b"k", GOOD, [("evbus-routing-key", None)]),
    (b"k", GOOD, [("evbus-routing-key", b"\xff")]),
    (b"k", GOOD, []),
]


def kafka_python_sends(bootstrap, topic, codec, transactional):
    """Produce the records with kafka-python; those of a transaction that is aborted, too. Returns how many count."""
    more = {"transactional_id": f"tx-{topic}-{codec}"} if transactional else {}
    producer = kafka_python.KafkaProducer(bootstrap_servers=bootstrap, compression_type=codec, acks="all", **more)
    try:
        if transactional:
            producer.init_transactions()
            producer.begin_transaction()
            for _ in range(3):
                producer.send(topic, b'"aborted"', b"k", [TYPE, JSON])
            producer.flush()
            producer.abort_transaction()
            producer.begin_transaction()
        usable = [each for each in RECORDS if all(value is not None for _, value in each[2])]
        sent = [producer.send(topic, value, key, headers) for key, value, headers in usable]
        producer.flush()
        if transactional:
            producer.commit_transaction()
        for each in sent:
            each.get(DEADLINE)
        return len(sent)
    finally:
        producer.close()


def confluent_sends(bootstrap, topic, codec, transactional):
    """Produce the records with confluent-kafka, with odd times; returns how many count."""
    more = {"transactional.id": f"tx-{topic}-{codec}"} if transactional else {}
    producer = confluent_kafka.Producer({"bootstrap.servers": bootstrap, "compression.type": codec or "none", **more})
    failed = []

    def send(value, key, headers, timestamp=0):
        told = lambda error, _: error and failed.append(str(error))  # noqa: E731
        producer.produce(topic, value, key, headers=headers, timestamp=timestamp, on_delivery=told)

    if transactional:
        producer.init_transactions(DEADLINE)
        producer.begin_transaction()
        for _ in range(3):
            send(b'"aborted"', b"k", [TYPE, JSON])
        producer.flush(DEADLINE)
        producer.abort_transaction(DEADLINE)
        producer.begin_transaction()
    times = [0, 1, 2**40]
    for number, (key, value, headers) in enumerate(RECORDS):
        send(value, key, headers, times[number % len(times)])
    assert producer.flush(DEADLINE) == 0
    if transactional:
        producer.commit_transaction(DEADLINE)
    assert failed == []
    return len(RECORDS)


SENDERS = [
    *((confluent_sends, codec, False) for codec in (None, "gzip", "snappy", "lz4", "zstd")),
    *((kafka_python_sends, codec, False) for codec in (None, "gzip")),
    (confluent_sends, "lz4", True),
    (kafka_python_sends, None, True),
]


@pytest.mark.parametrize(
    ("client", "codec", "transactional"),
    SENDERS,
    ids=[f"{each.__name__} {codec}{' transaction' * transactional}" for each, codec, transactional in SENDERS],
)
async def test_whatever_clients_of_kafka_send_is_handled_or_a_dead_letter(
    kafka, fresh_name, client, codec, transactional
):
    topic, seen = f"{fresh_name}.events", []
    await create_topic(kafka.bootstrap, topic, partitions=2)

    async def take(event):
        seen.append(event.body)
        if event.body != "good":
            raise ValueError("odd")

    profiles = {"kafka": {"default": {"connection": {"bootstrap_servers": kafka.bootstrap}}}}
    async with receiving_from(profiles, handler(take, fresh_name, "#", on_error=REJECT)) as group:
        sent = await asyncio.to_thread(client, kafka.bootstrap, topic, codec, transactional)
        await eventually(lambda: stats_of(group)["handled"] + stats_of(group)["dead"] >= sent, DEADLINE)
        before = stats_of(group)["handled"]
        assert stats_of(group)["handled"] + stats_of(group)["dead"] == sent
        producer = confluent_kafka.Producer({"bootstrap.servers": kafka.bootstrap})
        for number in range(10):
            producer.produce(topic, GOOD, str(number), headers=[TYPE, JSON])
        await asyncio.to_thread(producer.flush, DEADLINE)
        await eventually(lambda: stats_of(group)["handled"] == before + 10, DEADLINE)
        assert (stats_of(group)["state"], stats_of(group)["lost"]) == ("open", 0)
    assert before > 5
    assert "aborted" not in seen

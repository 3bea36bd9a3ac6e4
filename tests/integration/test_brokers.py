"""The test brokers themselves, seen through plain aio-pika and aiokafka."""

import ssl
from typing import Any

import aio_pika
import psycopg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from tests.brokers.kafka import Kafka
from tests.brokers.pgbouncer import PgBouncer
from tests.brokers.postgres import PostgreSQL
from tests.brokers.rabbitmq import RabbitMQ


async def put(url: str, queue: str, body: bytes, context: ssl.SSLContext | None = None) -> None:
    """Publish one persistent message to a durable queue, with the broker's confirmation."""
    async with await aio_pika.connect(url, ssl_context=context) as connection:
        channel = await connection.channel()
        await channel.declare_queue(queue, durable=True)
        message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(message, routing_key=queue)


async def take(url: str, queue: str, context: ssl.SSLContext | None = None) -> bytes:
    """Take one message from the queue and remove the queue."""
    async with await aio_pika.connect(url, ssl_context=context) as connection:
        channel = await connection.channel()
        taken = await (await channel.get_queue(queue)).get(no_ack=True)
        await channel.queue_delete(queue)
        return taken.body


async def there_and_back(topic: str, body: bytes, **settings: Any) -> bytes | None:
    """Send one record and read the topic from its beginning."""
    async with AIOKafkaProducer(**settings) as producer:
        await producer.send_and_wait(topic, body)
    async with AIOKafkaConsumer(topic, auto_offset_reset="earliest", **settings) as consumer:
        return (await consumer.getone()).value


async def test_a_message_over_plain_amqp_is_read_back(rabbitmq: RabbitMQ, fresh_name: str) -> None:
    await put(rabbitmq.url, fresh_name, b"plain")
    assert await take(rabbitmq.url, fresh_name) == b"plain"


async def test_a_message_over_amqp_with_tls_is_read_back(rabbitmq: RabbitMQ, fresh_name: str) -> None:
    context = ssl.create_default_context(cafile=rabbitmq.needs_tls().ca)
    await put(rabbitmq.tls_url, fresh_name, b"secret", context)
    assert await take(rabbitmq.tls_url, fresh_name, context) == b"secret"


async def test_a_killed_rabbitmq_keeps_a_persistent_message(rabbitmq: RabbitMQ, fresh_name: str) -> None:
    await put(rabbitmq.url, fresh_name, b"kept")
    rabbitmq.kill()
    rabbitmq.start()
    assert await take(rabbitmq.url, fresh_name) == b"kept"


def test_rabbitmqctl_talks_to_the_broker_of_the_tests(rabbitmq: RabbitMQ) -> None:
    assert "guest" in rabbitmq.ctl("list_users")


async def test_a_record_over_plain_kafka_is_read_back(kafka: Kafka, fresh_name: str) -> None:
    assert await there_and_back(fresh_name, b"plain", bootstrap_servers=kafka.bootstrap) == b"plain"


async def test_a_record_over_kafka_with_tls_is_read_back(kafka: Kafka, fresh_name: str) -> None:
    context = ssl.create_default_context(cafile=kafka.needs_tls().ca)
    settings = {"bootstrap_servers": kafka.ssl_bootstrap, "security_protocol": "SSL", "ssl_context": context}
    assert await there_and_back(fresh_name, b"secret", **settings) == b"secret"


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_a_record_over_kafka_with_tls_and_a_password_is_read_back(
    kafka: Kafka, fresh_name: str, mechanism: str
) -> None:
    settings = {
        "bootstrap_servers": kafka.sasl_bootstrap,
        "security_protocol": "SASL_SSL",
        "ssl_context": ssl.create_default_context(cafile=kafka.needs_tls().ca),
        "sasl_mechanism": mechanism,
        "sasl_plain_username": kafka.sasl_user,
        "sasl_plain_password": kafka.sasl_password,
    }
    assert await there_and_back(fresh_name, b"known", **settings) == b"known"


def test_a_killed_postgres_keeps_what_was_committed(postgres: PostgreSQL) -> None:
    name = postgres.database()
    postgres.sql("create table t (n int); insert into t values (7)", name)
    postgres.kill()
    postgres.start()
    assert postgres.sql("select n from t", name) == "7\n"


def test_pgbouncer_gives_each_transaction_to_any_server_connection(postgres: PostgreSQL) -> None:
    bouncer = PgBouncer(postgres, size=1)
    try:
        bouncer.start()
        name = postgres.database()
        with psycopg.connect(bouncer.url(name), autocommit=True) as one, psycopg.connect(bouncer.url(name)) as other:
            pid = other.execute("select pg_backend_pid()").fetchone()
            other.commit()
            assert one.execute("select pg_backend_pid()").fetchone() == pid
    finally:
        bouncer.close()

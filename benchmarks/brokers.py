"""The brokers' side of a run: fresh queues and topics for every leg, and the count of what arrived in them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any

import aio_pika
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.brokers.fleet import Fleet
from tests.brokers.kafka import Kafka
from tests.brokers.outside import OutsideKafka, OutsideRabbitMQ
from tests.brokers.postgres import PostgreSQL
from tests.brokers.rabbitmq import RabbitMQ

PARTITIONS = 2


class Brokers:
    """A RabbitMQ, a Kafka and a PostgreSQL, started for the benchmark.

    The first two may run elsewhere, as the tests' environment variables say. Use it in a `with`. Queues are durable and
    classic, topics have two partitions and one copy.
    """

    def __init__(self, wanted: set[str]) -> None:
        self.wanted = wanted
        self.amqp_url = self.bootstrap = self.postgres_url = ""
        self._fleet = Fleet(wanted)

    def __enter__(self) -> Brokers:
        try:
            if "rabbitmq" in self.wanted:
                rabbitmq = self._fleet.get("rabbitmq")
                assert isinstance(rabbitmq, RabbitMQ | OutsideRabbitMQ)
                self.amqp_url = rabbitmq.url
            if "kafka" in self.wanted:
                kafka = self._fleet.get("kafka")
                assert isinstance(kafka, Kafka | OutsideKafka)
                self.bootstrap = kafka.bootstrap
            if "postgres" in self.wanted:
                postgres = self._fleet.get("postgres")
                assert isinstance(postgres, PostgreSQL)
                self.postgres_url = postgres.url()
        except BaseException:
            self._fleet.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._fleet.close()

    def make(self, queues: list[str], topics: list[str]) -> None:
        """Declare fresh, empty queues and topics."""
        asyncio.run(self._make(queues, topics))

    async def _make(self, queues: list[str], topics: list[str]) -> None:
        if queues:
            async with await aio_pika.connect(self.amqp_url) as connection:
                channel = await connection.channel()
                for name in queues:
                    await (await channel.declare_queue(name, durable=True)).purge()
        if topics:
            async with self._admin() as admin:
                await admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in topics])

    def count(self, queues: list[str], topics: list[str]) -> dict[str, int]:
        """Give how many events stand in each queue and topic, and remove queues and topics."""
        return asyncio.run(self._count(queues, topics))

    async def _count(self, queues: list[str], topics: list[str]) -> dict[str, int]:
        counts: dict[str, int] = {}
        if queues:
            async with await aio_pika.connect(self.amqp_url) as connection:
                channel = await connection.channel()
                for name in queues:
                    queue = await channel.declare_queue(name, passive=True)
                    counts[name] = queue.declaration_result.message_count or 0
                    await queue.purge()
                    await queue.delete(if_unused=False, if_empty=False)
        if topics:
            async with AIOKafkaConsumer(bootstrap_servers=self.bootstrap) as consumer:
                for name in topics:
                    partitions = [TopicPartition(name, number) for number in range(PARTITIONS)]
                    first: dict[Any, int] = await consumer.beginning_offsets(partitions)
                    last: dict[Any, int] = await consumer.end_offsets(partitions)
                    counts[name] = sum(last.values()) - sum(first.values())
            async with self._admin() as admin:
                await admin.delete_topics(topics)
        return counts

    @asynccontextmanager
    async def _admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        try:
            await admin.start()
            yield admin
        finally:
            await admin.close()

"""Dead letters: records that were given up, in a topic of their handler's."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Mapping
from typing import Any

import aiokafka

from evbus_like.engine.errors import DestinationRefused, TransientError
from evbus_like.kafka import closing, failures, leaders

LONGEST = 249  # characters that Kafka takes in a topic's name (org.apache.kafka.common.internals.Topic)
TOPIC_WAIT = 5.0  # seconds that the topic's metadata is waited for; creating one takes less
LARGEST = 512 * 1024 * 1024  # bytes of a request: the topic's own limit decides


def topic_name(queue: str) -> str:
    """Give the topic for the dead letters of a queue's name.

    What Kafka does not allow in a topic's name becomes `-`. A name of more than Kafka's 249 characters is cut, and ends
    in `-` and 12 digits of its SHA-256.
    """
    name = re.sub(r"[^a-zA-Z0-9._-]", "-", queue)
    if len(name) <= LONGEST:
        return name
    return f"{name[: LONGEST - 13]}-{hashlib.sha256(queue.encode()).hexdigest()[:12]}"


class DeadLetters:
    """A small producer of its own, made when the first letter comes."""

    def __init__(self, connection: Mapping[str, Any], place: str) -> None:
        self._connection = connection
        self._place = place
        self._producer: Any = None
        self._opening = asyncio.Lock()
        self._closed = False

    async def put(self, topic: str, record: Any, dead_letter_headers: Mapping[str, Any]) -> None:
        """Produce a copy of a record, and return when all in-sync replicas have it; raises DeliveryError."""
        producer = await self._open()
        headers = [*record.headers, *((name, str(value).encode()) for name, value in dead_letter_headers.items())]
        value = b"" if record.value is None and record.key is None else record.value  # aiokafka asks for one of them
        try:
            await self._look_up(producer, topic)
            await producer.send_and_wait(topic, value, record.key, headers=headers)
        except (failures.kafka.KafkaError, OSError, TimeoutError) as error:
            await self._drop(producer)
            raise _trouble(error, self._place, topic) from error

    async def _look_up(self, producer: Any, topic: str) -> None:
        try:
            async with asyncio.timeout(TOPIC_WAIT):
                await producer.partitions_for(topic)
        except (TimeoutError, failures.kafka.UnknownTopicOrPartitionError):
            if not producer.client.cluster.brokers():
                raise TransientError(f"Kafka at {self._place} tells nothing of its topics") from None
            raise DestinationRefused(
                f"the topic {topic!r} for dead letters does not exist at Kafka {self._place} and is not made by itself:"
                f" kafka-topics.sh --create --topic {topic}"
            ) from None

    async def _open(self) -> Any:
        async with self._opening:
            if self._closed:
                raise TransientError("the feed has ended")
            if self._producer is None:
                options = {"acks": "all", "enable_idempotence": True, "max_request_size": LARGEST}
                producer = aiokafka.AIOKafkaProducer(**{**self._connection, **options})
                leaders.pace(producer.client)
                try:
                    await producer.start()
                except BaseException as error:
                    await closing.close(producer, flush=False)
                    if isinstance(error, Exception):
                        raise await failures.connecting(error, self._place, producer.client) from error
                    raise
                self._producer = producer
            return self._producer

    async def _drop(self, producer: Any) -> None:
        """Take a new producer next time: an idempotent one that lost a record refuses all that follow."""
        if self._producer is producer:
            self._producer = None
            closing.silence(producer)
            await closing.close(producer, flush=False)

    async def close(self) -> None:
        """Stop the producer, in bounded time."""
        self._closed = True
        async with self._opening:
            producer, self._producer = self._producer, None
            if producer is not None:
                await closing.close(producer, flush=True)


def _trouble(error: BaseException, place: str, topic: str) -> Exception:
    if isinstance(error, failures.POISON):
        return DestinationRefused(
            f"Kafka at {place} does not take a dead letter ({type(error).__name__}: {error}); let the topic {topic!r}"
            " take larger records: kafka-configs.sh --alter --entity-type topics --add-config max.message.bytes=..."
        )
    return failures.receiving(error, place)

"""Dead letters: copies of records that were given up, in a topic of their handler."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import aiokafka
from aiokafka import errors as kafka

from evbus_like.engine import dead_letter_headers
from evbus_like.engine.errors import DestinationRefused, PoisonEvent, TransientError
from evbus_like.kafka import brokers, closing, failures, internals
from evbus_like.kafka.unreadable import UnreadableRecord

LONGEST = 249  # characters that Kafka takes in a topic's name (org.apache.kafka.common.internals.Topic)
TOPIC_WAIT = 5.0  # seconds to wait for the topic's metadata; creating a topic takes less
# Headers of the record that a smaller form keeps, and their bytes at most.
KEPT = {"evbus-id": 200, "evbus-routing-key": 255, "content-type": 200, "content-encoding": 100}
Headers = list[tuple[str, bytes | None]]
PLACE = ("topic", "partition", "offset", "timestamp")  # of the record; the last one in milliseconds since 1970
ADDED = frozenset((*dead_letter_headers.UNHANDLED, *(f"evbus-dead-{name}" for name in PLACE)))
LARGEST = 512 * 1024 * 1024  # bytes of a request: the topic's own limit decides


def topic_name(queue: str) -> str:
    """Give the topic for the dead letters of a queue's name.

    Characters that Kafka does not allow become `-`. A name of more than 249 characters is cut, and ends in `-` and 12
    digits of its SHA-256.
    """
    name = re.sub(r"[^a-zA-Z0-9._-]", "-", queue)
    if len(name) <= LONGEST:
        return name
    return f"{name[: LONGEST - 13]}-{hashlib.sha256(queue.encode()).hexdigest()[:12]}"


class DeadLetters:
    """The producer of a feed's dead letters, made for the first one."""

    def __init__(self, connection: Mapping[str, Any], address: str) -> None:
        self._connection = connection
        self._address = address
        self._producer: Any = None
        self._opening = asyncio.Lock()
        self._closed = False

    async def put(self, topic: str, record: Any, why: Mapping[str, Any]) -> None:
        """Produce a copy of a record with the headers `why`; returns when it is safe. Raises DeliveryError.

        What the topic does not take is produced in a smaller form, which says what it lacks.
        """
        refused: Exception | None = None
        for value, key, headers in _forms(record, why):
            producer = await self._open()
            try:
                await self._look_up(producer, topic)
                await producer.send_and_wait(topic, value, key, headers=headers)
                return
            except (kafka.KafkaError, OSError, TimeoutError) as error:
                await self._drop(producer)
                if not isinstance(error, failures.TOO_LARGE):
                    raise _failure(error, self._address, topic) from error
                refused = error
        assert refused is not None
        raise _failure(refused, self._address, topic) from refused

    async def send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        headers: Headers,
        partition: int | None = None,
        timestamp: int | None = None,
    ) -> None:
        """Produce one record, to a partition if the topic has it; returns when it is safe. Raises DeliveryError.

        `timestamp` is in milliseconds since 1970.
        """
        producer = await self._open()
        try:
            await self._look_up(producer, topic)
            there = await producer.partitions_for(topic)
            number = partition if partition in there else None
            await producer.send_and_wait(topic, value, key, number, timestamp, headers)
        except (kafka.KafkaError, OSError, TimeoutError) as error:
            await self._drop(producer)
            raise _failure(error, self._address, topic) from error

    async def _look_up(self, producer: Any, topic: str) -> None:
        try:
            async with asyncio.timeout(TOPIC_WAIT):
                await producer.partitions_for(topic)
        except (TimeoutError, kafka.UnknownTopicOrPartitionError):
            if not producer.client.cluster.brokers():
                raise TransientError(f"Kafka at {self._address} does not answer with its topics") from None
            raise DestinationRefused(
                f"the topic {topic!r} for dead letters does not exist at Kafka {self._address} and is not created"
                f" automatically: kafka-topics.sh --create --topic {topic}"
            ) from None

    async def _open(self) -> Any:
        async with self._opening:
            if self._closed:
                raise TransientError("the feed has ended")
            if self._producer is None:
                options = {"acks": "all", "enable_idempotence": True, "max_request_size": LARGEST}
                producer = aiokafka.AIOKafkaProducer(**{**self._connection, **options})
                internals.check_producer(producer)
                brokers.follow(producer.client)
                try:
                    await producer.start()
                except BaseException as error:
                    await closing.close(producer, flush=False)
                    if isinstance(error, Exception):
                        raise await failures.connecting(error, self._address, producer.client) from error
                    raise
                self._producer = producer
            return self._producer

    async def _drop(self, producer: Any) -> None:
        """Use a new producer next time: an idempotent one that lost a record fails all that follow."""
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


def _forms(record: Any, why: Mapping[str, Any]) -> Iterator[tuple[bytes | None, bytes | None, Headers]]:
    """Yield the value, key and headers of a dead letter: the whole record, and then ever smaller forms of it."""
    value, key = (record.content if isinstance(record, UnreadableRecord) else record.value), record.key
    if value is None and key is None:
        value = b""  # aiokafka needs one of them
    coordinates = {f"evbus-dead-{name}": getattr(record, name) for name in PLACE}
    reasons = [(name, _encoded(text)) for name, text in {**why, **coordinates}.items()]
    yield value, key, [*record.headers, *reasons]
    kept = [(name, content) for name, content in record.headers if name in KEPT and len(content or b"") <= KEPT[name]]
    lost, size = len(record.headers) - len(kept), len(value or b"")
    for smaller, small_key in ((size, key), (size // 2, key), (0, key), (0, None)):
        sizes = {"body": (size, smaller), "key": (len(key or b""), len(small_key or b""))}
        what = [(name, text.encode()) for name, text in dead_letter_headers.cut(lost, **sizes).items()]
        yield value and value[:smaller], small_key, [*kept, *reasons, *what]


def _encoded(value: Any) -> bytes:
    return str(value).encode(errors="backslashreplace")  # a reason may quote anything


def _failure(error: BaseException, address: str, topic: str) -> Exception:
    if isinstance(failures.publishing(error, address), PoisonEvent):
        return DestinationRefused(
            f"Kafka at {address} does not take a dead letter ({failures.words(error)}); let the topic {topic!r}"
            " take larger records: kafka-configs.sh --alter --entity-type topics --add-config max.message.bytes=..."
        )
    return failures.receiving(error, address)

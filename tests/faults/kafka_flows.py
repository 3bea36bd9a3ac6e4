"""Numbered events through a Kafka cluster during a fault: by our bus and, beside it, by plain aiokafka."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import aiokafka
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError
from aiokafka.partitioner import DefaultPartitioner

from evbus_like.testing import running
from tests.brokers.kafka_cluster import KafkaCluster

PARTITIONS = 6
KEYS = tuple(f"key {number}" for number in range(24))


@dataclass
class Flow:
    """What one way of sending, or of handling, has done so far: (when, key, number), in order."""

    name: str
    done: list[tuple[float, str, int]] = field(default_factory=list)

    def note(self, key: str, number: int) -> None:
        """Record an event that is confirmed, or handled."""
        self.done.append((monotonic(), key, number))

    def gap(self, since: float, keys: Iterable[str] = KEYS) -> float:
        """Give the longest time without a step for these keys, from `since` to the end."""
        wanted = set(keys)
        times = [*([since] if since else ()), *(when for when, key, _ in self.done if key in wanted and when >= since)]
        return max((after - before for before, after in itertools.pairwise(times)), default=0.0)

    def of(self, keys: Collection[str]) -> list[tuple[float, str, int]]:
        """Give what was done for some keys, for all if none is given."""
        return [each for each in self.done if each[1] in keys] if keys else self.done

    def disorder(self) -> int:
        """Count events that came after a later one of their key, repeats aside."""
        latest: dict[str, int] = {}
        seen, found = set(), 0
        for _, key, number in self.done:
            if (key, number) not in seen:
                seen.add((key, number))
                found += number < latest.get(key, -1)
                latest[key] = max(number, latest.get(key, -1))
        return found

    def missing(self, put: Iterable[tuple[str, int]]) -> set[tuple[str, int]]:
        """Give the events that did not come."""
        return set(put) - {(key, number) for _, key, number in self.done}

    def repeats(self) -> int:
        """Count events that came again."""
        return len(self.done) - len({(key, number) for _, key, number in self.done})


class Stream:
    """Puts numbered events at a steady pace until it is stopped; `confirmed` has those that are safe."""

    def __init__(self, name: str, pace: float) -> None:
        self.confirmed = Flow(name)
        self.put: list[tuple[str, int]] = []
        self._pace = pace
        self._sending: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None

    async def send(self, key: str, number: int) -> None:
        """Send one event; returns when it is safe."""
        raise NotImplementedError

    def start(self) -> None:
        """Begin to put events."""
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        begun = monotonic()
        for count in itertools.count():
            key, number = KEYS[count % len(KEYS)], count // len(KEYS)
            self.put.append((key, number))
            task = asyncio.create_task(self._send(key, number))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
            await asyncio.sleep(max(0.0, begun + count / self._pace - monotonic()))

    async def _send(self, key: str, number: int) -> None:
        await self.send(key, number)
        self.confirmed.note(key, number)

    async def end(self, within: float) -> None:
        """Stop putting, and wait until all that was put is safe."""
        if self._task:
            self._task.cancel()
        if self._sending:
            await asyncio.wait(self._sending, timeout=within)
        for task in self._sending:
            task.cancel()


class BusStream(Stream):
    """Puts to a running bus."""

    def __init__(self, name: str, pace: float, hub: Any) -> None:
        super().__init__(name, pace)
        self._hub = hub

    async def send(self, key: str, number: int) -> None:
        await self._hub.evbus.broker.put(key, {"number": number}, confirm="delivered", timeout=600.0)

    def trouble(self) -> str:
        """Give what the status says of the only lane."""
        (lane,) = self._hub.evbus.init.status()["destinations"].values()
        return str(lane["trouble"])


class PlainStream(Stream):
    """Sends with aiokafka's own producer, which gives up after its request_timeout_ms."""

    def __init__(self, name: str, pace: float, producer: Any, topic: str) -> None:
        super().__init__(name, pace)
        self._producer, self._topic = producer, topic
        self.failed = 0

    async def send(self, key: str, number: int) -> None:
        try:
            body = json.dumps({"number": number}).encode()
            await self._producer.send_and_wait(self._topic, body, key.encode())
        except KafkaError:
            self.failed += 1
            raise asyncio.CancelledError from None


@asynccontextmanager
async def bus_stream(
    cluster: KafkaCluster,
    topic: str,
    pace: float,
    name: str,
    connection: dict[str, Any] | None = None,
    hub: Any = None,
    **options: Any,
) -> AsyncIterator[BusStream]:
    """Run a bus whose only profile leads to a topic, with a stream that is not started yet."""
    given = {"bootstrap_servers": cluster.bootstrap, **(connection or {})}
    async with running({"kafka": {"default": {"connection": given, "topics": [topic], **options}}}, hub) as hub:
        yield BusStream(name, pace, hub)


@asynccontextmanager
async def plain_stream(cluster: KafkaCluster, topic: str, pace: float) -> AsyncIterator[PlainStream]:
    """Run an aiokafka producer with the settings that our profiles have by default, and a stream."""
    options = {"acks": "all", "enable_idempotence": True, "max_batch_size": 256 * 1024, "request_timeout_ms": 20_000}
    producer = aiokafka.AIOKafkaProducer(bootstrap_servers=cluster.bootstrap, **options)
    await producer.start()
    try:
        yield PlainStream("aiokafka", pace, producer, topic)
    finally:
        await producer.stop()


@asynccontextmanager
async def plain_handler(cluster: KafkaCluster, topic: str, session: float) -> AsyncIterator[Flow]:
    """Run an aiokafka consumer in a group; gives what it reads."""
    options = {"session_timeout_ms": int(session * 1000), "heartbeat_interval_ms": int(session * 200)}
    flow = Flow("aiokafka")
    consumer = aiokafka.AIOKafkaConsumer(
        topic, bootstrap_servers=cluster.bootstrap, group_id=f"{topic}.plain", auto_offset_reset="earliest", **options
    )
    await consumer.start()

    async def read() -> None:
        async for record in consumer:
            flow.note(record.key.decode(), json.loads(record.value)["number"])

    task = asyncio.create_task(read())
    try:
        yield flow
    finally:
        task.cancel()
        await asyncio.wait([task])
        await consumer.stop()


async def make_topic(cluster: KafkaCluster, name: str, partitions: int = PARTITIONS, **configs: str) -> None:
    """Create a topic with a replica on every broker, and the leaders spread over them in turn."""
    nodes = [node.node for node in cluster]
    replicas = {number: nodes[number % len(nodes) :] + nodes[: number % len(nodes)] for number in range(partitions)}
    admin = AIOKafkaAdminClient(bootstrap_servers=cluster.bootstrap)
    await admin.start()
    try:
        while len((await admin.describe_cluster())["brokers"]) < len(nodes):  # noqa: ASYNC110 - nothing tells us
            await asyncio.sleep(0.1)
        settings = {option.replace("_", "."): value for option, value in configs.items()}
        await admin.create_topics([NewTopic(name, -1, -1, replica_assignments=replicas, topic_configs=settings)])
    finally:
        await admin.close()


def partition_of(key: str, partitions: int = PARTITIONS) -> int:
    """Give the partition of a key, as Kafka's clients choose it."""
    numbers = list(range(partitions))
    return int(DefaultPartitioner()(key.encode(), numbers, numbers))


def keys_led_by(node: int, brokers: int = 3) -> tuple[list[str], list[str]]:
    """Give the keys whose partitions of a topic of `make_topic` begin with this leader, and the other keys."""
    led = [key for key in KEYS if partition_of(key) % brokers == node - 1]
    return led, [key for key in KEYS if key not in led]


async def read_flow(cluster: KafkaCluster, topic: str) -> Flow:
    """Read a whole topic."""
    flow = Flow(topic)
    consumer = aiokafka.AIOKafkaConsumer(topic, bootstrap_servers=cluster.bootstrap, auto_offset_reset="earliest")
    async with asyncio.timeout(60.0), consumer:
        ends = await consumer.end_offsets(list(consumer.assignment()))
        while any([await consumer.position(place) < end for place, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                for record in records:
                    flow.note(record.key.decode(), json.loads(record.value)["number"])
    return flow

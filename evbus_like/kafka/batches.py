"""Batches: records grouped by topic and partition, through aiokafka's public batch interface.

`AIOKafkaProducer.send` makes a future for each record; a batch makes one for thousands.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Sequence
from typing import Any

from aiokafka.partitioner import DefaultPartitioner

from evbus_like.engine.event import Event
from evbus_like.kafka import internals

MAX_CACHED_KEYS = 10_000
Headers = list[tuple[str, bytes]]


class Batch:
    """Records for one partition, and the positions of their events in the lane's batch."""

    def __init__(self, topic: str, partition: int, builder: Any) -> None:
        self.topic = topic
        self.partition = partition
        self.builder = builder
        self.positions: list[int] = []


class PartitionBatches:
    """The batches of one partition, filled in order."""

    def __init__(
        self, producer: Any, topic: str, partition: int, most: int | None = None, size: int | None = None
    ) -> None:
        self._producer = producer
        self._size = size  # bytes of a batch, before compression, if the topic takes no larger ones
        self._most = most  # records in a batch, if the topic's limit is tighter than a batch's bytes
        self.topic = topic
        self.partition = partition
        self.batches: list[Batch] = []
        self._next()

    def _next(self) -> None:
        batch = Batch(self.topic, self.partition, internals.create_batch(self._producer, self._size))
        self.batches.append(batch)
        self._append = internals.appender(batch.builder)
        self._extend = internals.extender(batch.builder)
        self._note = batch.positions.append

    def extend(self, events: Sequence[Event], at: int, key: bytes | None) -> int:
        """Append the records of events that are alike, from events[at] on; returns how many: none is left to `add`."""
        if self._extend is None:
            return 0
        positions = self.batches[-1].positions
        most = len(events) if self._most is None else self._most - len(positions)
        count: int = self._extend(events, at, most, key)
        positions.extend(range(at, at + count))
        return count

    def add(self, position: int, timestamp: int, key: bytes | None, value: bytes | None, headers: Headers) -> None:
        """Append one event's record (timestamp in milliseconds) to the last batch, or to a new one."""
        if self._most is not None and len(self.batches[-1].positions) >= self._most:
            self._next()
        if self._append(timestamp, key, value, headers) is None:
            self._next()
            self._append(timestamp, key, value, headers)  # an empty batch takes any record
        self._note(position)


def in_rounds(stacks: Iterable[PartitionBatches]) -> list[Batch]:
    """Give the first batch of every partition, then the second ones, and so on.

    The producer accepts a partition's next batch when the one before is sent: in rounds no partition waits for another.
    """
    rounds = itertools.zip_longest(*(stack.batches for stack in stacks))
    return [batch for batches in rounds for batch in batches if batch is not None]


class Partitioner:
    """Chooses partitions as Kafka's own clients do (murmur2 of the key), with a cache, because hashing is slow."""

    def __init__(self) -> None:
        self._choose = DefaultPartitioner()
        self._cache: dict[tuple[bytes, int], int] = {}

    def partition(self, key: bytes | None, partitions: Sequence[int]) -> int:
        """Give the partition of a key among the sorted `partitions` of a topic; any without a key."""
        if key is None:
            return random.choice(partitions)
        place = (key, len(partitions))
        index = self._cache.get(place)
        if index is None:
            if len(self._cache) >= MAX_CACHED_KEYS:
                self._cache.clear()
            index = self._cache[place] = partitions.index(self._choose(key, partitions, partitions))
        return partitions[index]

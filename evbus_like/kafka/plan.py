"""Plans: the topics and partitions of events, and their records in batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from evbus_like.engine.cloudevents import CloudEvents
from evbus_like.engine.errors import PoisonEvent
from evbus_like.engine.event import SERVICE_HEADER, Event, events_of, service_of
from evbus_like.kafka import internals, leaders
from evbus_like.kafka.batches import Batch, Headers, PartitionBatches, Partitioner
from evbus_like.kafka.connection import address
from evbus_like.kafka.leaders import NoLeader, Place
from evbus_like.kafka.topics import TopicRules, too_large

KEY_NEEDED = "its events need a key, put(key=...), or a routing key"
NO_KEY = "a tombstone deletes what has its key, and it has none: put(key=...), or give a routing key"
MAX_LIMITS = 10_000  # topics whose batches are limited
ID_HEADER = "evbus-id"
TYPE_HEADER = "evbus-routing-key"  # the event type of a service's event, whose topic is the service's


@dataclass
class Plan:
    """Where events of one routing key, key and service go, within one call of publish."""

    key: bytes | None
    batches: list[PartitionBatches] = field(default_factory=list)
    problem: Exception | None = None


class Layout:
    """The records of one call of publish, by partition; `outcomes` has errors by the positions of their events."""

    def __init__(self, outcomes: list[Any], held: Mapping[Place, Exception]) -> None:
        self.outcomes = outcomes
        self.held = held  # partitions that must not get any, because something before it is not confirmed
        self.batches: dict[Place, PartitionBatches] = {}
        self.leaderless: set[Place] = set()


class Planner:
    """Chooses topics, keys and partitions by the options of the profile.

    `tombstones` are content types and bodies that become records without a value.
    """

    def __init__(self, acct: Mapping[str, Any], tombstones: Set[tuple[str, bytes]] = frozenset()) -> None:
        self._tombstones = tombstones
        self.address = address(acct.get("connection") or {})
        topics = acct.get("topics")
        self.topics = (topics,) if isinstance(topics, str) else tuple(topics or ())
        self.key = _bytes(acct.get("key"))
        self.partition = acct.get("partition")
        self.rules = TopicRules()
        self._most: dict[str, int] = {}  # records in a batch, by topic, where Kafka has refused larger ones
        self._partitioner = Partitioner()
        self._content_types: dict[str, tuple[str, bytes]] = {}

    def lay_out(
        self,
        producer: Any,
        events: Sequence[Event],
        topics: Mapping[str, Sequence[int] | Exception],
        outcomes: list[Any] | None = None,
        held: Mapping[Place, Exception] = MappingProxyType({}),
        taken: Set[int] = frozenset(),
    ) -> Layout:
        """Make the records of events, given the partitions of their topics or the errors.

        Of events for `held` partitions none are made, and none for positions that are `taken`: they have outcomes.
        """
        layout = Layout([None] * len(events) if outcomes is None else outcomes, held)
        outcomes, tombstones = layout.outcomes, self._tombstones
        plans: dict[Any, Plan] = {}
        names: tuple[Any, ...]
        value: bytes | None
        record, accepted, timestamp = self.record, 0.0, 0
        done, alike = 0, not tombstones and not taken and type(self).record is Planner.record
        for position, event in enumerate(events) if not taken else _others(events, taken):
            if position < done:
                continue
            if event.headers:
                names = (event.routing_key, event.key, event.headers.get(SERVICE_HEADER))
            else:
                names = (event.routing_key, event.key)
            plan = plans.get(names)
            if plan is None:
                plan = plans[names] = self._plan(producer, event, topics, layout)
            if plan.problem is not None:
                outcomes[position] = plan.problem
                continue
            if alike and len(plan.batches) == 1:
                done = position + plan.batches[0].extend(events, position, plan.key)
                if position < done:
                    continue
            headers, value = record(event)
            if tombstones and (event.content_type, value) in tombstones:
                value = None
                if plan.key is None:
                    outcomes[position] = PoisonEvent(NO_KEY)
                    continue
            if event.timestamp != accepted:  # events that were admitted together have the same
                accepted = event.timestamp
                timestamp = int(accepted * 1000)
            for batches in plan.batches:
                batches.add(position, timestamp, plan.key, value, headers)
        for stack in layout.batches.values():
            self._drop_too_large(producer, stack, outcomes)
        return layout

    def _empty(self, producer: Any, where: Place) -> PartitionBatches:
        return PartitionBatches(producer, *where, self._most.get(where[0]), self.rules.of(where[0]).max_bytes)

    def _drop_too_large(self, producer: Any, stack: PartitionBatches, outcomes: list[Any]) -> None:
        """Refuse records that their topic does not take: each is alone in its batch."""
        largest = self.rules.now(stack.topic).max_bytes
        if largest is None or internals.compresses(producer):
            return
        for batch in [each for each in stack.batches if each.builder.size() > largest]:
            stack.batches.remove(batch)
            for position in batch.positions:
                outcomes[position] = PoisonEvent(too_large(batch.builder.size(), stack.topic, largest))

    def limit(self, topic: str, most: int) -> None:
        """Put no more records of a topic into one batch: its limit is below a batch's size."""
        if len(self._most) >= MAX_LIMITS:
            self._most.clear()
        self._most[topic] = max(1, most)

    def again(
        self, producer: Any, place: Place, events: Sequence[Event], positions: Sequence[int], outcomes: list[Any]
    ) -> list[Batch]:
        """Make the records of some events for one partition."""
        batches = self._empty(producer, place)
        for position in positions:
            event = events[position]
            headers, body = self.record(event)
            value = None if self.is_tombstone(event) else body
            batches.add(position, int(event.timestamp * 1000), self.key_of(event), value, headers)
        self._drop_too_large(producer, batches, outcomes)
        return [batch for batch in batches.batches if batch.positions]

    @property
    def has_tombstones(self) -> bool:
        """Whether some bodies become records without a value."""
        return bool(self._tombstones)

    def is_tombstone(self, event: Event) -> bool:
        """Whether an event becomes a record without a value."""
        return (event.content_type, event.body) in self._tombstones

    def size_of(self, event: Event, key: bytes | None) -> int:
        """Give the bytes of an event's record, alone in a batch that is not compressed."""
        headers, value = self.record(event)
        return internals.record_size(key, None if self.is_tombstone(event) else value, headers)

    def key_of(self, event: Event) -> bytes | None:
        """Give the key of an event's record."""
        return self.key or _bytes(event.key) or event.routing_key.encode() or None

    @staticmethod
    def topic(event: Event) -> str:
        """Give the topic of an event if the profile names none."""
        service = service_of(event)
        return event.routing_key if service is None else events_of(service)

    def _plan(
        self, producer: Any, event: Event, topics: Mapping[str, Sequence[int] | Exception], layout: Layout
    ) -> Plan:
        """Plan where events of this routing key and key go; if one topic cannot take them, none gets them."""
        key = self.key_of(event)
        cluster = producer.client.cluster
        places: list[Place] = []
        for topic in self.topics or (self.topic(event),):
            partitions = topics[topic]
            if isinstance(partitions, Exception):
                return Plan(key, problem=partitions)
            if key is None and self.rules.now(topic).needs_key:
                return Plan(key, problem=PoisonEvent(f"topic {topic!r} is compacted: {KEY_NEEDED}"))
            places.append((topic, self._choose(cluster, topic, key, partitions, layout.held)))
        for where in places if layout.held else ():
            if where in layout.held:
                return Plan(key, problem=layout.held[where])
        missing = [where for where in places if where not in layout.batches and not leaders.known(cluster, where)]
        if missing:
            layout.leaderless.update(missing)
            return Plan(key, problem=self._no_leader(cluster, missing[0]))
        for where in places:
            if where not in layout.batches:
                layout.batches[where] = self._empty(producer, where)
        return Plan(key, [layout.batches[where] for where in places])

    def _choose(
        self, cluster: Any, topic: str, key: bytes | None, partitions: Sequence[int], held: Mapping[Place, Exception]
    ) -> int:
        if self.partition is not None:
            return int(self.partition)
        if key is None:
            partitions = leaders.reachable(cluster, topic, partitions)
            partitions = [number for number in partitions if (topic, number) not in held] or partitions
        return self._partitioner.partition(key, partitions)

    def _no_leader(self, cluster: Any, where: Place) -> NoLeader:
        return NoLeader(f"Kafka at {self.address}: {leaders.trouble(cluster, where)}; its events wait")

    def record(self, event: Event) -> tuple[Headers, bytes]:
        """Give the headers and the value of an event's record.

        Text and numbers of headers are UTF-8, None is an empty value, and a list repeats its header.
        """
        content_type = self._content_types.get(event.content_type)
        if content_type is None:
            content_type = self._content_types[event.content_type] = ("content-type", event.content_type.encode())
        headers = [(ID_HEADER, event.id.encode()), content_type]
        if event.headers:
            if SERVICE_HEADER in event.headers:
                headers.append((TYPE_HEADER, event.routing_key.encode()))
            for name, value in event.headers.items():
                headers += (
                    [(name, each.encode()) for each in value]
                    if isinstance(value, list)
                    else ((name, _header_bytes(value)),)
                )
        return headers, event.body


class CloudEventsPlanner(Planner):
    """Makes records of CloudEvents."""

    def __init__(self, acct: Mapping[str, Any], tombstones: Set[tuple[str, bytes]], cloud_events: CloudEvents) -> None:
        super().__init__(acct, tombstones)
        self._converted = cloud_events.converted

    def record(self, event: Event) -> tuple[Headers, bytes]:
        """Give the headers and the value of an event's record."""
        return super().record(self._converted(event))


def _others(events: Sequence[Event], taken: Set[int]) -> Iterator[tuple[int, Event]]:
    return ((position, event) for position, event in enumerate(events) if position not in taken)


def _header_bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    return b"" if value is None else str(value).encode()


def _bytes(value: Any) -> bytes | None:
    return value.encode() if isinstance(value, str) else value

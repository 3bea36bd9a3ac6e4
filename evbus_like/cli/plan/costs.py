"""What one event costs: the constants of the capacity model, each with its source.

Microseconds are those of one core on which the bare loop of `make bench` passes 405,000 small events a second (2.5 us
each). That is a core of the machine of benchmarks/results/latest.txt; figures of slower machines are scaled by it.

    [bench]      make bench, November 2026: benchmarks/results/latest.txt, and a run of the 29th, scaled
    [capacity]   python -m benchmarks.capacity, November 2026, scaled
    [cluster]    the same leg on three nodes on one machine, quorum queues or replication factor 3; CPU of all nodes
    [assumed]    not measured here: a round figure for planning, to be replaced by that of your own hardware
"""

from __future__ import annotations

from dataclasses import dataclass

SMALL = 45  # bytes: the body of the benchmark's small event


@dataclass(frozen=True)
class Cost:
    """Microseconds for an event: of a small one, and for each further 1000 bytes of its body."""

    small: float
    per_kb: float

    def of(self, size: int) -> float:
        """Give the microseconds for an event of a size."""
        return self.small + self.per_kb * max(0, size - SMALL) / 1000


PUT = Cost(3.7, 2.1)  # [bench] `await put`; small events and webhooks in memory
OUTBOX = Cost(20.0, 6.0)  # [bench] `await put, 100 tasks` with and without `outbox: always`; [capacity] its bytes
CALL = 170.0  # [bench] 100 calls at once: caller and service together
QUEUED = 260  # [bench] bytes that a queued event takes beside its body: 300 for a small one
STORED = 150  # [assumed] bytes that an event takes in the outbox beside its body

FILLED = 0.7  # [assumed] the part of anything that is planned with; the rest is for bursts and for failures
REPLICAS = 3  # quorum queues of three members; topics with replication factor 3
DISK = 200e6  # [assumed] bytes a second that a broker node's disk takes
NETWORK = 1.25e9  # [assumed] bytes a second: 10 Gbit/s
CONNECTIONS = 10_000  # [assumed] of one node; RabbitMQ takes 100 KB of memory for each, and more for its channels


@dataclass(frozen=True)
class Broker:
    """The costs of one kind of broker; what the clients pay first, then what the broker pays.

    `part` is what one consumer reads in order: a queue, or a partition. `part_us` and `lane_us` are the time from one
    event to the next where only that limits: 1,000,000 / part_us is what one takes in a second.
    """

    name: str
    provider: str
    deliver: Cost  # an event to one destination, beside the put
    receive: Cost  # an event of a handler that does nothing
    lane_us: Cost  # one profile of one process
    part: str
    part_owner: str
    part_us: Cost
    part_of_one_process: bool  # whether a part is read by one process only
    take: Cost  # CPU of all nodes for an event to one destination
    give: Cost  # CPU of all nodes for an event of one handler
    stored_for_handlers: bool  # whether each handler has a copy, else each destination
    writes: float  # how often a copy is written to the disk
    overhead: int  # [assumed] bytes of an event beside its body
    every_node: bool  # whether a client is connected to every node
    spare: int  # further connections of a process of handlers (retries, dead letters), or of a profile (metadata)
    group: int  # further connections of each handler; all of these are the most that there may be
    cluster: int  # [assumed] nodes of the largest cluster
    has_channels: bool
    largest: int  # bytes of the largest event
    largest_why: str

    def lane(self, size: int) -> float:
        """Give the events a second that one profile of one process delivers."""
        return 1e6 / self.lane_us.of(size)

    def part_takes(self, size: int) -> float:
        """Give the events a second that pass one queue, or one partition."""
        return 1e6 / self.part_us.of(size)

    def copies(self, destinations: int, handlers: int) -> int:
        """Give how many times an event is stored, replicas aside."""
        return handlers if self.stored_for_handlers else destinations

    def problem(self, size: int) -> str:
        """Say why it takes no events of a size; an empty text if it does."""
        return f"events of {size:,} bytes: {self.largest_why}" if size > self.largest else ""


RABBITMQ = Broker(
    name="RabbitMQ",
    provider="amqp",
    deliver=Cost(3.8, 0.5),  # [bench] one profile, less the put
    receive=Cost(15.8, 7.9),  # [bench] receiving from RabbitMQ; [capacity] webhooks
    lane_us=Cost(28.5, 3.9),  # [bench] one profile: 35,089 small events a second, 14,948 webhooks
    part="queue",
    part_owner="handler",
    part_us=Cost(44.6, 7.8),  # [bench] in at 35,089 and out at 62,240 a second, one after the other
    part_of_one_process=False,
    take=Cost(6.0, 0.5),  # [cluster]
    give=Cost(73.0, 15.0),  # [cluster]; a classic queue on one node: 40
    stored_for_handlers=True,
    writes=2.0,  # a quorum queue writes its log, then its segments
    overhead=150,
    every_node=False,
    spare=1,
    group=0,
    cluster=7,
    has_channels=True,
    largest=128 * 1024 * 1024,
    largest_why="RabbitMQ takes 128 MiB at most, and RabbitMQ 4 takes 16 MiB unless max_message_size is raised",
)
KAFKA = Broker(
    name="Kafka",
    provider="kafka",
    deliver=Cost(1.5, 3.9),  # [bench] one profile, less the put
    receive=Cost(13.4, 10.0),  # [bench] receiving from Kafka; [capacity] webhooks
    lane_us=Cost(4.1, 5.3),  # [bench] one profile: 241,972 small events a second, 17,773 webhooks
    part="partition",
    part_owner="topic",
    part_us=Cost(8.3, 10.6),  # [bench] half of that, on a topic of two partitions; the client was the limit
    part_of_one_process=True,
    take=Cost(7.3, 15.0),  # [cluster]
    give=Cost(5.0, 5.0),  # [cluster]
    stored_for_handlers=False,
    writes=1.0,
    overhead=110,
    every_node=True,
    spare=1,
    group=2,
    cluster=200,
    has_channels=False,
    largest=1_044_480,
    largest_why="Kafka takes 1,044,480 bytes unless connection.max_request_size and max.message.bytes are raised",
)
BROKERS = (RABBITMQ, KAFKA)

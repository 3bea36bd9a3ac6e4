"""The capacity model: how much of each thing a flow of events needs, from the costs of one event."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from evbus_like.cli.plan import costs
from evbus_like.cli.plan.costs import Broker


@dataclass(frozen=True)
class Flow:
    """What is asked for: `rate` events a second of `size` bytes, each to so many destinations and handlers.

    `handler_ms` is what a handler's own code takes of a core for an event, `cores` are those of a machine, and `speed`
    is that of a core beside the ones of `costs`.
    """

    rate: float
    size: int
    destinations: int = 1
    handlers: int = 1
    calls: float = 0.0
    durable: bool = False
    handler_ms: float = 0.0
    cores: int = 4
    speed: float = 1.0


@dataclass(frozen=True)
class Limit:
    """One thing of which there may be one or many: what is asked of all, and what one takes."""

    name: str
    asked: float
    one_takes: float
    unit: str

    @property
    def times(self) -> float:
        """How many of it are needed, as a fraction."""
        return self.asked / self.one_takes

    @property
    def needed(self) -> int:
        """How many of it are needed, none of them filled beyond the part that is planned with."""
        return max(1, math.ceil(self.times / costs.FILLED - 1e-9)) if self.asked else 0


@dataclass(frozen=True)
class Plan:
    """How many of each thing a flow needs on one kind of broker; `problem` says why it cannot be had."""

    broker: Broker
    put_us: float
    handler_us: float
    putting: Limit
    handling: Limit
    calling: Limit
    machines: int
    clusters: int
    per_handler: int
    nodes: int
    connections: int
    channels: int
    waiting_bytes: float
    disk_bytes: float
    limits: tuple[Limit, ...]
    problem: str

    @property
    def first(self) -> tuple[Limit, ...]:
        """The limits, the one that is reached first before the others."""
        return tuple(sorted(self.limits, key=lambda limit: -limit.times))


def plan(flow: Flow, broker: Broker) -> Plan:
    """Work out a plan."""
    size, speed = flow.size, flow.speed
    put_us = (costs.PUT.of(size) + flow.destinations * broker.deliver.of(size)) / speed
    put_us += costs.OUTBOX.of(size) / speed if flow.durable else 0.0
    handler_us = broker.receive.of(size) / speed + flow.handler_ms * 1000
    lane = broker.lane(size) * speed
    putting = [
        Limit("a process that puts", flow.rate * put_us / 1e6, 1.0, "cores"),
        Limit("a profile's connection in a process that puts", flow.rate, lane, "events/s"),
    ]
    handling = Limit("a process of handlers", flow.rate * flow.handlers * handler_us / 1e6, 1.0, "cores")
    calling = Limit("a process that calls or serves", flow.calls * costs.CALL / speed / 1e6, 1.0, "cores")
    busiest = max(putting, key=lambda limit: limit.needed)
    processes = busiest.needed + handling.needed + calling.needed

    stored = flow.rate * (size + costs.STORED) if flow.durable else 0.0
    outboxes = Limit("the disk of a machine's outboxes", stored, costs.DISK, "bytes/s")
    parted = flow.rate if flow.handlers or not broker.stored_for_handlers else 0.0
    part = Limit(f"a {broker.part}", parted, broker.part_takes(size) * speed, "events/s")
    per_handler = max(part.needed, handling.needed) if broker.part_of_one_process else part.needed
    copies = flow.rate * broker.copies(flow.destinations, flow.handlers) * costs.REPLICAS * broker.writes
    broker_us = broker.take.of(size) * flow.destinations + broker.give.of(size) * flow.handlers
    nodes = [
        Limit("the cores of a broker node", flow.rate * broker_us / speed / 1e6, float(flow.cores), "cores"),
        Limit("the disk of a broker node", copies * (size + broker.overhead), costs.DISK, "bytes/s"),
        Limit("the network of a broker node", _wire(flow, broker), costs.NETWORK, "bytes/s"),
    ]
    needed = max(costs.REPLICAS, *(limit.needed for limit in nodes))
    counts = busiest.needed, handling.needed, calling.needed
    clusters = 1
    if broker.every_node:  # more nodes do not help, because each process is connected to each of them
        nodes.append(_crowd(_sockets(flow, broker, *counts, costs.REPLICAS) / costs.REPLICAS))
        clusters = nodes[-1].needed
        needed = max(math.ceil(needed / clusters), costs.REPLICAS) * clusters
    sockets = _sockets(flow, broker, *counts, needed // clusters)
    if not broker.every_node:
        nodes.append(_crowd(sockets))
        needed = max(needed, nodes[-1].needed)
    return Plan(
        broker=broker,
        put_us=put_us,
        handler_us=handler_us,
        putting=busiest,
        handling=handling,
        calling=calling,
        machines=max(math.ceil(processes / flow.cores), outboxes.needed),
        clusters=max(clusters, math.ceil(needed / broker.cluster)),
        per_handler=per_handler,
        nodes=needed,
        connections=sockets,
        channels=sockets + handling.needed * flow.handlers if broker.has_channels else 0,
        waiting_bytes=flow.rate * flow.destinations * (size + costs.QUEUED) / busiest.needed,
        disk_bytes=copies * (size + broker.overhead) / needed,
        limits=tuple(each for each in (*putting, handling, calling, outboxes, part, *nodes) if each.asked),
        problem=broker.problem(size),
    )


def _wire(flow: Flow, broker: Broker) -> float:
    """Give the bytes a second that pass the network cards of all broker nodes."""
    replicated = broker.copies(flow.destinations, flow.handlers) * (costs.REPLICAS - 1) * 2
    return flow.rate * (flow.size + broker.overhead) * (flow.destinations + flow.handlers + replicated)


def _crowd(sockets: float) -> Limit:
    return Limit("the connections of a broker node", sockets, costs.CONNECTIONS, "connections")


def _sockets(flow: Flow, broker: Broker, putting: int, handling: int, calling: int, nodes: int) -> int:
    """Give the connections to all nodes together, so many in each cluster; each process uses one cluster."""
    each = nodes if broker.every_node else 1
    put = putting * flow.destinations * (each + broker.spare * broker.every_node)
    handle = handling * (flow.handlers * (each + broker.group) if broker.every_node else 1 + broker.spare)
    return put + handle + calling * 2 * (each + broker.spare)


def as_data(made: Plan) -> Mapping[str, object]:
    """Give a plan as plain data."""
    return {
        "problem": made.problem or None,
        "processes": {
            "put": made.putting.needed,
            "handlers": made.handling.needed,
            "calls": made.calling.needed,
        },
        "machines": made.machines,
        f"{made.broker.part}s_of_each_{made.broker.part_owner}": made.per_handler,
        "broker_nodes": made.nodes,
        "broker_clusters": made.clusters,
        "connections": made.connections,
        **({"channels": made.channels} if made.broker.has_channels else {}),
        "cpu_us": {"put": round(made.put_us, 2), "handler": round(made.handler_us, 2)},
        "waiting_bytes_for_each_second": round(made.waiting_bytes),
        "disk_bytes_per_second_and_node": round(made.disk_bytes),
        "limits": [
            {
                "limit": each.name,
                "asked": round(each.asked, 3),
                "one_takes": round(each.one_takes, 3),
                "unit": each.unit,
                "times": round(each.times, 3),
                "needed": each.needed,
            }
            for each in made.first
        ],
    }

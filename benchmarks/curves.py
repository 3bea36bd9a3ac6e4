"""The curves of `benchmarks.growth`: legs that are run at several sizes, and what is drawn of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.runner import Run

WEBHOOK = 10_000  # bytes, about


@dataclass(frozen=True)
class Case:
    """A script of legs/ that is run at every size up to `most`; `events` gives how many events it gets at a size.

    `of_size`: the events are what grows, so that a quick run, which has smaller sizes, gets them all.
    """

    name: str
    script: str
    events: Callable[[int], int]
    options: Mapping[str, Any] = field(default_factory=dict)
    most: int = sys.maxsize
    of_size: bool = False
    queues: int = 0
    topics: int = 0


@dataclass(frozen=True)
class Line:
    """One line of a diagram: a figure of a case, and its name in the legend."""

    case: str
    figure: str
    label: str


@dataclass(frozen=True)
class Panel:
    """One diagram."""

    title: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Curve:
    """Cases whose cost grows with one number, the option `by` of their legs."""

    name: str
    title: str
    axis: str
    by: str
    sizes: Sequence[int]
    quick: Sequence[int]
    cases: tuple[Case, ...]
    panels: tuple[Panel, ...]
    brokers: tuple[str, ...] = ()


def own(size: int) -> int:
    """Give as many events as the size says."""
    return size


def by_size(size: int) -> int:
    """Give 200 MB of bodies, or fewer."""
    return max(20, min(60_000, 200_000_000 // size))


# What a line shows of a leg's run at a size: times and rates are those of CPU, which are the same on a busy machine.
FIGURES: dict[str, Callable[[int, Run], float]] = {
    "rate": lambda size, run: run["events"] / run["cpu"],
    "bytes": lambda size, run: size * run["events"] / run["cpu"] / 1e6,
    "put": lambda size, run: run["put_rate"],
    "sent": lambda size, run: run["send_rate"],
    "set aside": lambda size, run: run["set_aside_rate"],
    "memory": lambda size, run: max(run["memory"], 0) / 1e6,
    "peak": lambda size, run: run["peak"] / 1e6,
    "file": lambda size, run: run["file"] / 1e6,
    "start": lambda size, run: run["start"],
    "restart": lambda size, run: run["restart"],
    "restart, dead": lambda size, run: run["dead_restart"],
}

QUEUED = Curve(
    "queued",
    "Events that wait, in memory and on disk",
    "events that wait",
    "waiting",
    (10_000, 100_000, 1_000_000, 10_000_000),
    (1_000, 10_000),
    (
        Case("memory", "growth_queue", own, of_size=True),
        Case("disk", "growth_queue", own, {"durable": True}, of_size=True),
    ),
    (
        Panel(
            "events a second of CPU",
            (
                Line("memory", "put", "memory, put"),
                Line("memory", "sent", "memory, sent"),
                Line("disk", "put", "disk, put"),
                Line("disk", "sent", "disk, sent"),
            ),
        ),
        Panel(
            "megabytes",
            (
                Line("memory", "memory", "memory"),
                Line("disk", "file", "disk: the file"),
                Line("disk", "memory", "disk: memory"),
            ),
        ),
        Panel("seconds of CPU for a start", (Line("disk", "restart", "disk"),)),
    ),
)

DESTINATIONS = Curve(
    "destinations",
    "Destinations",
    "destinations",
    "lanes",
    (1, 10, 100, 1_000),
    (1, 10),
    (
        Case("one", "growth_destinations", lambda size: 200_000),
        Case("all", "growth_destinations", lambda size: 200_000, {"all": True}),
    ),
    (
        Panel(
            "deliveries a second of CPU",
            (Line("one", "rate", "an event to one of them"), Line("all", "rate", "an event to all")),
        ),
        Panel("megabytes of a bus", (Line("one", "memory", "the bus"),)),
        Panel("seconds of CPU for a start", (Line("one", "start", "the bus"),)),
    ),
)

HANDLERS = Curve(
    "handlers",
    "Handlers",
    "handlers",
    "handlers",
    (1, 10, 100, 1_000),
    (1, 10),
    (
        Case("memory, one", "growth_handlers", lambda size: 50_000),
        Case("memory, all", "growth_handlers", lambda size: 50_000, {"all": True}),
        Case("RabbitMQ, one", "growth_handlers", lambda size: 20_000, {"rabbitmq": True}),
        Case("RabbitMQ, all", "growth_handlers", lambda size: 20_000, {"rabbitmq": True, "all": True}),
    ),
    (
        Panel(
            "calls of handlers a second of CPU",
            (
                Line("memory, one", "rate", "memory, an event to one"),
                Line("memory, all", "rate", "memory, an event to all"),
                Line("RabbitMQ, one", "rate", "RabbitMQ, an event to one"),
                Line("RabbitMQ, all", "rate", "RabbitMQ, an event to all"),
            ),
        ),
        Panel(
            "megabytes of all handlers",
            (Line("memory, one", "memory", "memory"), Line("RabbitMQ, one", "memory", "RabbitMQ")),
        ),
        Panel(
            "seconds of CPU until all have subscribed",
            (Line("memory, one", "start", "memory"), Line("RabbitMQ, one", "start", "RabbitMQ")),
        ),
    ),
    ("rabbitmq",),
)

WAYS = ("memory", "disk", "RabbitMQ", "Kafka")
BODIES = Curve(
    "bodies",
    "Bodies",
    "bytes of a body",
    "size",
    (100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000),
    (100, 10_000),
    (
        Case("memory", "memory_ours", by_size, {"way": "bound", "warm_up": 10}),
        Case("disk", "memory_ours", by_size, {"way": "tasks", "durable": True, "warm_up": 10}),
        Case("RabbitMQ", "deliver_ours", by_size, {"warm_up": 10}, queues=1),
        Case("Kafka", "deliver_ours", by_size, {"warm_up": 10}, most=1_000_000, topics=1),
    ),
    (
        Panel("events a second of CPU", tuple(Line(way, "rate", way) for way in WAYS)),
        Panel("megabytes a second of CPU", tuple(Line(way, "bytes", way) for way in WAYS)),
        Panel("megabytes of the process, at most", tuple(Line(way, "peak", way) for way in WAYS if way != "disk")),
    ),
    ("rabbitmq", "kafka"),
)

OUTBOX = Curve(
    "outbox",
    "An outbox of webhooks, 10 KB each",
    "bytes in the outbox",
    "waiting",
    (10**7, 10**8, 10**9, 10**10),
    (10**6, 10**7),
    (
        Case(
            "outbox",
            "growth_queue",
            lambda size: size // WEBHOOK,
            {"durable": True, "replayed": True, "body": "webhooks"},
            of_size=True,
        ),
    ),
    (
        Panel(
            "events a second of CPU",
            (
                Line("outbox", "put", "put"),
                Line("outbox", "set aside", "made dead letters"),
                Line("outbox", "sent", "replayed and sent"),
            ),
        ),
        Panel(
            "seconds of CPU for a start",
            (Line("outbox", "restart", "events wait"), Line("outbox", "restart, dead", "dead letters")),
        ),
        Panel("megabytes of the process, at most", (Line("outbox", "peak", "all steps"),)),
    ),
)

CURVES = {curve.name: curve for curve in (QUEUED, DESTINATIONS, HANDLERS, BODIES, OUTBOX)}

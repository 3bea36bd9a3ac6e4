"""The status document: what one port, or one socket, says of all processes behind it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypedDict

from evbus_like.engine.histogram import Durations

FORMAT = 1  # of the document; a name or a meaning that changes makes it another one


class Destination(TypedDict):
    """A destination. Counts are events; `bytes` wait in memory; `publish` is the time of a batch until its answer.

    `limited` are batches that waited because of the profile's `rate`, which is no trouble.
    `dead_reasons` are the dead letters by reason, in the groups of `evbus dead ls`: at most 21.
    """

    state: str
    waiting: int
    queued: int
    bytes: int
    behind: int
    in_flight: int
    accepted: int
    delivered: int
    delivered_bytes: int
    retried: int
    limited: int
    dropped: dict[str, int]
    expired: int
    dead: int
    dead_reasons: dict[str, int]
    oldest_age: float
    trouble: str
    publish: Durations


class Outbox(TypedDict):
    """The outbox; `pending` are events by destination, `commits` the times of its commits.

    `scheduled` events were put with `delay` or `at`, and are not due yet.
    """

    bytes: int
    max_bytes: int
    pending: dict[str, int]
    dead: int
    trouble: str
    scheduled: int
    commits: Durations


class Relay(TypedDict):
    """The relay of a database of the application: what it has delivered, and what waits in its parts of the table.

    `waiting` and `oldest_age` are as they were at most ten seconds ago; `unmatched` wait because no profile matches.
    """

    state: str
    parts: int
    waiting: int
    oldest_age: float
    scheduled: int
    unmatched: int
    in_lanes: int
    delivered: int
    dead: int
    trouble: str


class Rates(TypedDict):
    """The database through which machines share rates; `runs` have used them in the last minute."""

    database: str
    runs: int
    trouble: str


class Bus(TypedDict):
    """The bus; `queued` events are in the intake queue, `postgres` are the databases of the application."""

    state: str
    queued: int
    unmatched: int
    rejected: int
    outbox: Outbox | None
    postgres: dict[str, Relay]
    rates: Rates | None
    destinations: dict[str, Destination]


class Handler(TypedDict):
    """A handler, or a service, on one source; `busy` events are being handled, `running` is the time for each.

    Of its `shards`, 0 if it has none, this process `reads` those with these numbers.
    """

    handler: str
    source: str
    delivery: str
    shards: int
    reads: list[int]
    received: int
    handled: int
    filtered: int
    expired: int
    failed: int
    retried: int
    requeued: int
    dead: int
    dead_reasons: dict[str, int]
    repeats: int
    limited: int
    lost: int
    busy: int
    lag: int | None
    state: str
    trouble: str
    running: Durations


class Calls(TypedDict):
    """The calls that this process has made over one profile and exchange; `answered` is their time."""

    source: str
    exchange: str
    calls: int
    answers: int
    late: int
    timeouts: int
    answered: Durations
    trouble: str


class Used(TypedDict):
    """What a process uses of its machine."""

    cpu_seconds: float
    resident_bytes: int
    open_files: int
    most_files: int


class Process(TypedDict):
    """One process. `worker` is its number under a supervisor; `started` is in seconds since 1970.

    `loop` is how late the event loop runs what is due; it is looked at twice a second.
    """

    pid: int
    worker: int | None
    application: str
    version: str
    started: float
    used: Used
    loop: Durations
    bus: Bus
    handlers: dict[str, Handler]
    services: dict[str, Handler]
    calls: dict[str, Calls]


class Readers(TypedDict):
    """Who reads the HTTP port: followers of `/events`, those that were too slow, and connections that were too many."""

    following: int
    dropped: int
    refused: int


class Status(TypedDict):
    """The whole document. `reasons` say in words why it is not `ready`; `readers` is null if no HTTP port was asked."""

    format: int
    ready: bool
    reasons: list[str]
    readers: Readers | None
    processes: list[Process]


def status(processes: Sequence[Process], missing: Sequence[str] = ()) -> Status:
    """Return the document of these processes; `missing` says in words which others do not answer."""
    reasons = [*missing]
    for each in processes:
        who = f"worker {each['worker']}: " if each["worker"] is not None else ""
        reasons += [f"{who}{reason}" for reason in _reasons(each)]
    if not processes and not missing:
        reasons.append("no process answers")
    return {"format": FORMAT, "ready": not reasons, "reasons": reasons, "readers": None, "processes": [*processes]}


def _reasons(process: Process) -> Iterator[str]:
    """Say why a process is not ready: everything that is not as it is in good times."""
    bus = process["bus"]
    if bus["state"] != "running":
        yield {"new": "the bus is not started yet"}.get(bus["state"], f"the bus is {bus['state']}")
        return
    if bus["outbox"] is not None and bus["outbox"]["trouble"]:
        yield f"the outbox cannot be used: {bus['outbox']['trouble']}"
    for name, relay in bus.get("postgres", {}).items():
        if relay["state"] != "open":
            yield f"the outbox in postgres:{name} is {_state(relay)}"
    for name, lane in bus["destinations"].items():
        if lane["state"] not in ("open", "closed", "paused"):  # closed: its profile was removed; paused: on purpose
            yield f"destination {name} is {_state(lane)}"
    for kind in ("handlers", "services"):
        found: dict[str, Handler] = process[kind]
        for each in found.values():
            if each["state"] not in ("open", "paused"):
                yield f"{kind[:-1]} {each['handler']} on {each['source']} is {_state(each)}"


def _state(facts: Any) -> str:
    return f"{facts['state']}: {facts['trouble']}" if facts["trouble"] else str(facts["state"])

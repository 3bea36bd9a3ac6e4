"""How much the outbox holds: measured in the file when it is opened, and counted from then on."""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from threading import Lock

from evbus_like.engine.errors import EventTooLarge, OutboxFull
from evbus_like.engine.histogram import Histogram
from evbus_like.engine.outbox.layout import SEQS, Route, place_of, read_routes
from evbus_like.engine.outbox.record import OVERHEAD
from evbus_like.engine.waiting import CrossLoopCondition


@dataclass(frozen=True)
class Counts:
    """How much an outbox holds: bytes of events and dead letters, events by destination, dead letters.

    `scheduled` events are not due yet. `trouble` says why nothing can be written now; it is empty in good times.
    """

    bytes: int
    max_bytes: int
    pending: dict[str, int]
    dead: int
    trouble: str = ""
    scheduled: int = 0

    @property
    def full(self) -> bool:
        """Whether not even the smallest event fits."""
        return self.bytes >= self.max_bytes


class Change:
    """What one transaction changes when it is committed; the bytes of new events are reserved before."""

    def __init__(self) -> None:
        self.bytes = 0
        self.pending: defaultdict[str, int] = defaultdict(int)  # a Counter takes five times as long to make
        self.dead = self.scheduled = 0


class OutboxUsage:
    """Counts what is in the file, and the bytes on their way there; safe in any thread."""

    def __init__(self, max_bytes: int, path: str) -> None:
        self.max_bytes = max_bytes
        self.path = path
        self.bytes = 0
        self.dead = self.scheduled = 0
        self.pending: Counter[str] = Counter()
        self.trouble = ""
        self.commits = Histogram()  # how long they took
        self.room = CrossLoopCondition()
        self.refusing = False  # whether the last reservation found no room, and nothing was freed since
        self._lock = Lock()

    def reserve(self, size: int) -> None:
        """Reserve bytes for a write; raises OutboxFull, or EventTooLarge for what never fits."""
        with self._lock:
            if self.bytes + size <= self.max_bytes:
                self.bytes += size
                return
            self.refusing = size <= self.max_bytes
        self._check(size)
        later = f" ({self.scheduled} of them until they are due)" if self.scheduled else ""
        waiting = f"{self.pending.total() + self.scheduled} events wait{later}"
        raise OutboxFull(
            f"the outbox {self.path} is full: {self.bytes} of {self.max_bytes} bytes, {waiting} and {self.dead} dead"
            " letters are kept; find out why their destinations do not take them, replay or purge dead letters, or"
            " raise its max_bytes",
            size,
        )

    def fits(self, size: int) -> bool:
        """Whether `reserve` would succeed now; raises EventTooLarge if it never would."""
        self._check(size)
        return self.bytes + size <= self.max_bytes

    def free(self, size: int) -> None:
        """Free bytes that were reserved and not written."""
        with self._lock:
            self.bytes -= size
            self.refusing = False
        self.room.wake_all()

    def apply(self, change: Change) -> None:
        """Count the changes of a committed transaction."""
        with self._lock:
            self.bytes += change.bytes
            self.refusing = self.refusing and change.bytes >= 0
            self.dead += change.dead
            self.scheduled += change.scheduled
            for name, count in change.pending.items():
                self.pending[name] += count
                if not self.pending[name]:
                    del self.pending[name]
        if change.bytes < 0:
            self.room.wake_all()

    def counts(self) -> Counts:
        """Give the current counts."""
        with self._lock:
            pending = dict(self.pending)
            return Counts(self.bytes, self.max_bytes, pending, self.dead, self.trouble, self.scheduled)

    def _check(self, size: int) -> None:
        if size > self.max_bytes:
            raise EventTooLarge(
                f"{size} bytes never fit into the outbox {self.path}, which holds at most {self.max_bytes}:"
                " send less, or raise its max_bytes"
            )


SIZE = f"length(records) + {OVERHEAD} * count"  # of a segment: SQLite knows lengths without reading the values
# What a destination still needs of a route; `settled` counts bits, which SQL cannot.
WAITING = (
    "SELECT coalesce(sum(count - CASE WHEN bits IS NULL THEN 0 ELSE settled(bits) END), 0),"
    f" coalesce(sum({SIZE}), 0), min(oldest), max((segments.place & {SEQS}) + count)"
    " FROM segments LEFT JOIN done ON done.place = segments.place AND destination = ?"
    " WHERE segments.place BETWEEN ? AND ? AND (bits IS NULL OR bits <> (1 << count) - 1)"
)
WHOLE = f"SELECT coalesce(sum({SIZE}), 0), max((place & {SEQS}) + count) FROM segments WHERE place BETWEEN ? AND ?"
DEAD = "SELECT coalesce(sum(size), 0), count(*) FROM dead"
SCHEDULED = f"SELECT coalesce(sum(length(record) + {OVERHEAD}), 0), count(DISTINCT id), min(due) FROM scheduled"
HAS_SCHEDULED = "SELECT 1 FROM sqlite_master WHERE name = 'scheduled'"  # not so for a file of an earlier version


@dataclass
class Waiting:
    """Pending events of a destination: their number, the bytes of their segments, and when the oldest was put."""

    events: int = 0
    bytes: int = 0
    oldest: float | None = None


@dataclass
class Contents:
    """What a file holds: bytes of events and dead letters, dead letters, pending events, and the next free seq.

    `first_due` is when the first of the scheduled events is due, in seconds since 1970.
    """

    bytes: int = 0
    dead: int = 0
    scheduled: int = 0
    first_due: float | None = None
    waiting: dict[str, Waiting] = field(default_factory=dict)
    next_seq: int = 1

    @property
    def pending(self) -> Counter[str]:
        """Give the number of pending events by destination."""
        return Counter({name: its.events for name, its in self.waiting.items()})


def measure(connection: sqlite3.Connection) -> Contents:
    """Measure a file; it reads the first page of every segment."""
    found = Contents()
    connection.create_function("settled", 1, int.bit_count, deterministic=True)
    for route in read_routes(connection).all():
        _measure_route(connection, route, found)
    freed, found.dead = connection.execute(DEAD).fetchone()
    found.bytes += freed
    if connection.execute(HAS_SCHEDULED).fetchone():
        held, found.scheduled, found.first_due = connection.execute(SCHEDULED).fetchone()
        found.bytes += held
    return found


def _measure_route(connection: sqlite3.Connection, route: Route, found: Contents) -> None:
    places = place_of(route.number, 0), place_of(route.number, SEQS)
    for destination, name in enumerate(route.names):
        events, size, oldest, end = connection.execute(WAITING, (destination, *places)).fetchone()
        if events:
            its = found.waiting.setdefault(name, Waiting())
            its.events += events
            its.bytes += size
            its.oldest = oldest if its.oldest is None else min(its.oldest, oldest)
    if len(route.names) > 1:  # destinations share these segments, and the file holds them once
        size, end = connection.execute(WHOLE, places).fetchone()
    found.bytes += size
    found.next_seq = max(found.next_seq, end or 1)

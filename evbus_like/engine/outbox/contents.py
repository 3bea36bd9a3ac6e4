"""Contents: how much waits in a file, by destination, read beside a writer or before one starts."""

from __future__ import annotations

import sqlite3
from collections import Counter
from dataclasses import dataclass, field

from evbus_like.engine.outbox.record import OVERHEAD
from evbus_like.engine.outbox.routes import Route, read_routes
from evbus_like.engine.outbox.segment import SEQS, place_of

SIZE = f"length(records) + {OVERHEAD} * count"  # of a segment: SQLite knows lengths without reading what has them
# What of a route a destination has not got yet; `settled` counts bits, which SQL cannot.
WAITING = (
    "SELECT coalesce(sum(count - CASE WHEN bits IS NULL THEN 0 ELSE settled(bits) END), 0),"
    f" coalesce(sum({SIZE}), 0), min(oldest), max((segments.place & {SEQS}) + count)"
    " FROM segments LEFT JOIN done ON done.place = segments.place AND destination = ?"
    " WHERE segments.place BETWEEN ? AND ? AND (bits IS NULL OR bits <> (1 << count) - 1)"
)
WHOLE = f"SELECT coalesce(sum({SIZE}), 0), max((place & {SEQS}) + count) FROM segments WHERE place BETWEEN ? AND ?"
DEAD = "SELECT coalesce(sum(size), 0), count(*) FROM dead"


@dataclass
class Waiting:
    """What waits for a destination: events, the bytes of their segments, and when the oldest was put."""

    events: int = 0
    bytes: int = 0
    oldest: float | None = None


@dataclass
class Contents:
    """What a file holds: bytes of events and dead letters, dead letters, what waits, and the first seq that is free."""

    bytes: int = 0
    dead: int = 0
    waiting: dict[str, Waiting] = field(default_factory=dict)
    next_seq: int = 1

    @property
    def pending(self) -> Counter[str]:
        """How many events wait, by destination."""
        return Counter({name: its.events for name, its in self.waiting.items()})


def measure(connection: sqlite3.Connection) -> Contents:
    """Measure a file: it reads every segment but for what is beyond its first page."""
    found = Contents()
    connection.create_function("settled", 1, int.bit_count, deterministic=True)
    for route in read_routes(connection).all():
        _measure_route(connection, route, found)
    freed, found.dead = connection.execute(DEAD).fetchone()
    found.bytes += freed
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
    if len(route.names) > 1:  # each has its own part of it, and the file holds it once
        size, end = connection.execute(WHOLE, places).fetchone()
    found.bytes += size
    found.next_seq = max(found.next_seq, end or 1)

"""Dead letters: events that were given up, with why, kept until somebody replays or purges them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from time import time
from typing import Any

from evbus_like.engine.event import Event
from evbus_like.engine.outbox import record
from evbus_like.engine.outbox.page import read_place
from evbus_like.engine.outbox.progress import conditions
from evbus_like.engine.outbox.row import SIZE, Row, pack, unpack
from evbus_like.engine.outbox.schema import DEAD, EVENT
from evbus_like.engine.outbox.store import Store

WHY = ", ".join(DEAD)
HEAD = EVENT.removesuffix("body") + "NULL"  # what lists show: bodies may be large


@dataclass(frozen=True)
class DeadLetter:
    """An event that was given up for one destination; times are seconds since 1970.

    In lists `event.body` is None, and `dead_one` gives it; `size` is what the letter counts in the file.
    """

    number: int
    destination: str
    reason: str
    kind: str
    attempts: int
    first_failed: float | None
    died: float
    size: int
    event: Event


@dataclass(frozen=True)
class DeadFilter:
    """Which dead letters: all that match everything given.

    `routing_key` is a glob pattern, `reason` a part of the text in any case, `older_than` a time in seconds since 1970.
    """

    destination: str | None = None
    profile: str | None = None
    routing_key: str | None = None
    reason: str | None = None
    older_than: float | None = None

    def where(self) -> tuple[str, list[Any]]:
        """Give the condition in SQL, and its values."""
        parts = {
            "destination = ?": self.destination,
            "profile = ?": self.profile,
            "routing_key GLOB ?": self.routing_key,
            "instr(lower(reason), lower(?)) > 0": self.reason,
            "died < ?": self.older_than,
        }
        given = {part: value for part, value in parts.items() if value is not None}
        return " AND ".join(given) or "1", list(given.values())


@dataclass(frozen=True)
class Why:
    """Why an event is given up; `first_failed` is None where nobody noted it."""

    reason: str
    kind: str
    attempts: int
    first_failed: float | None


def bury(store: Store, destination: str, seq: int, why: Why) -> bool:
    """Make a pending event a dead letter; False where it is not pending there."""
    for route in store.routes.of(destination):
        found = read_place(store.connection, route, destination, seq)
        if found is not None:
            held, intact = found
            row = pack(record.unpack(held) if intact else record.remains(held, seq))
            bury_row(store, destination, row, why)
            store.change.bytes += row[SIZE]
            store.settle(destination, (seq,))
            store.run()
            return True
    return False


def bury_row(store: Store, destination: str, row: Row, why: Why) -> int:
    """Write a dead letter and give its number."""
    marks = ", ".join("?" * (len(DEAD) + len(row)))
    reason = why.reason.encode("utf-8", "backslashreplace").decode()
    values = (destination, reason, why.kind, why.attempts, why.first_failed, time(), *row)
    number = store.connection.execute(f"INSERT INTO dead ({WHY}, {EVENT}) VALUES ({marks})", values).lastrowid
    store.change.dead += 1
    assert number is not None
    return number


def read(connection: sqlite3.Connection, wanted: DeadFilter, after: int, limit: int) -> list[DeadLetter]:
    """List dead letters by number, without their bodies."""
    where, values = wanted.where()
    statement = f"SELECT number, {WHY}, {HEAD} FROM dead WHERE number > ? AND {where} ORDER BY number LIMIT ?"
    return [_letter(row) for row in connection.execute(statement, (after, *values, limit))]


def read_one(connection: sqlite3.Connection, number: int) -> DeadLetter | None:
    """Give one dead letter, body and all."""
    row = connection.execute(f"SELECT number, {WHY}, {EVENT} FROM dead WHERE number = ?", (number,)).fetchone()
    return None if row is None else _letter(row)


def replay(store: Store, numbers: Iterable[int], destination: str | None) -> list[tuple[int, Event, str]]:
    """Make dead letters pending again, in their order: for their own destinations, or for one other."""
    again: list[tuple[int, Event, str]] = []
    for number in sorted(set(numbers)):
        found = store.connection.execute(
            f"SELECT destination, {EVENT} FROM dead WHERE number = ?", (number,)
        ).fetchone()
        if found is None:
            continue
        name, row = destination or found[0], found[1:]
        event = unpack(row)
        packed = record.pack(event)
        again.append((store.next_seq, event, name))
        store.append([(packed, (name,))])
        store.connection.execute("DELETE FROM dead WHERE number = ?", (number,))
        store.change.dead -= 1
        store.change.bytes += record.size(packed) - row[SIZE]
    return again


def purge(store: Store, wanted: Iterable[int] | DeadFilter) -> int:
    """Delete dead letters for good and say how many."""
    purged = 0
    for where, values in [wanted.where()] if isinstance(wanted, DeadFilter) else conditions("number", wanted):
        freed = store.connection.execute(f"SELECT coalesce(sum(size), 0) FROM dead WHERE {where}", values).fetchone()[0]
        purged += store.connection.execute(f"DELETE FROM dead WHERE {where}", values).rowcount
        store.change.bytes -= freed
    store.change.dead -= purged
    return purged


def _letter(row: tuple[Any, ...]) -> DeadLetter:
    number, destination, reason, kind, attempts, first_failed, died, *held = row
    return DeadLetter(number, destination, reason, kind, attempts, first_failed, died, held[SIZE], unpack(held))

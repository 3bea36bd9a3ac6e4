"""Dead letters: events that were given up, with the reason, kept until somebody replays or purges them."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from time import time
from typing import Any

from evbus_like.engine.dead_reasons import parts_of
from evbus_like.engine.errors import StorageError
from evbus_like.engine.event import Event
from evbus_like.engine.outbox import record
from evbus_like.engine.outbox.page import Page, read_page, read_place
from evbus_like.engine.outbox.row import SIZE, Row, is_sound, pack, unpack
from evbus_like.engine.outbox.schema import DEAD, EVENT
from evbus_like.engine.outbox.settlement import conditions
from evbus_like.engine.outbox.store import Store

log = logging.getLogger("evbus_like.outbox")

REASON = ", ".join(DEAD)
PAGE_BYTES = 4 * 1024 * 1024  # of bodies at a time
WITHOUT_BODY = EVENT.removesuffix("body") + "NULL"  # for lists: bodies may be large


@dataclass(frozen=True)
class DeadLetter:
    """An event that was given up for one destination; times are seconds since 1970.

    In lists `event.body` is None; `read_dead_letter` gives it. `size` is the bytes that it counts in the file.
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
    """Selects the dead letters that match everything given.

    `routing_key` is a glob pattern, `reason` a part of the text in upper or lower case, in which `…` stands for
    anything, `older_than` a time in seconds since 1970.
    """

    destination: str | None = None
    profile: str | None = None
    routing_key: str | None = None
    reason: str | None = None
    older_than: float | None = None

    def where(self) -> tuple[str, list[Any]]:
        """Give the SQL condition and its values."""
        parts = [
            ("destination = ?", self.destination),
            ("profile = ?", self.profile),
            ("routing_key GLOB ?", self.routing_key),
            *(("instr(lower(reason), lower(?)) > 0", part) for part in parts_of(self.reason)),
            ("died < ?", self.older_than),
        ]
        given = [(part, value) for part, value in parts if value is not None]
        return " AND ".join(part for part, _ in given) or "1", [value for _, value in given]


@dataclass(frozen=True)
class Reason:
    """Why an event is given up; `first_failed` is None where that time is not known."""

    reason: str
    kind: str
    attempts: int
    first_failed: float | None


DAMAGED = Reason("the disk returned other bytes than were written (wrong checksum)", "damaged", 0, None)


def dead_letter(store: Store, destination: str, seq: int, reason: Reason) -> bool:
    """Turn a pending event into a dead letter; False if it is not pending there."""
    for route in store.routes.of(destination):
        found = read_place(store.connection, route, destination, seq)
        if found is not None:
            held, intact = found
            row = pack(record.unpack(held) if intact else record.remains(held, seq))
            insert_dead_letter(store, destination, row, reason)
            store.change.bytes += row[SIZE]
            store.settle(destination, (seq,))
            store.run()
            return True
    return False


def set_aside(store: Store, destination: str, reason: Reason, most: int) -> int:
    """Turn the oldest events that wait for a destination into dead letters, and give how many."""
    seqs = [seq for seq, _ in page(store, destination, 0, most, PAGE_BYTES)]
    for seq in seqs:
        dead_letter(store, destination, seq, reason)
    return len(seqs)


def discard(store: Store, destination: str, most: int) -> int:
    """Delete the oldest events that wait for a destination, and give how many."""
    seqs = [seq for seq, _ in page(store, destination, 0, most, PAGE_BYTES)]
    store.settle(destination, seqs)
    store.run()
    return len(seqs)


def insert_dead_letter(store: Store, destination: str, row: Row, reason: Reason) -> int:
    """Write a dead letter and give its number."""
    marks = ", ".join("?" * (len(DEAD) + len(row)))
    text = reason.reason.encode("utf-8", "backslashreplace").decode()
    values = (destination, text, reason.kind, reason.attempts, reason.first_failed, time(), *row)
    number = store.connection.execute(f"INSERT INTO dead ({REASON}, {EVENT}) VALUES ({marks})", values).lastrowid
    store.change.dead += 1
    assert number is not None
    return number


def read_dead_letters(connection: sqlite3.Connection, wanted: DeadFilter, after: int, limit: int) -> list[DeadLetter]:
    """List dead letters by number, without their bodies."""
    where, values = wanted.where()
    statement = (
        f"SELECT number, {REASON}, {WITHOUT_BODY} FROM dead WHERE number > ? AND {where} ORDER BY number LIMIT ?"
    )
    return [_letter(row) for row in connection.execute(statement, (after, *values, limit))]


def read_dead_letter(connection: sqlite3.Connection, number: int) -> DeadLetter | None:
    """Give one dead letter with its body."""
    row = connection.execute(f"SELECT number, {REASON}, {EVENT} FROM dead WHERE number = ?", (number,)).fetchone()
    if row is not None and not is_sound(row[1 + len(DEAD) :]):
        raise StorageError(f"the disk returned dead letter {number} with other bytes than were written; purge it")
    return None if row is None else _letter(row)


def replay(store: Store, numbers: Iterable[int], destination: str | None) -> list[tuple[int, Event, str]]:
    """Make dead letters pending again, in their order, for their own destinations or for another."""
    again: list[tuple[int, Event, str]] = []
    for number in sorted(set(numbers)):
        found = store.connection.execute(
            f"SELECT destination, {EVENT} FROM dead WHERE number = ?", (number,)
        ).fetchone()
        if found is None:
            continue
        name, row = destination or found[0], found[1:]
        if not is_sound(row):
            log.error("dead letter %d was damaged on the disk (%s); it is not replayed: purge it", number, store.path)
            continue
        event = unpack(row)
        packed = record.pack(event)
        again.append((store.next_seq, event, name))
        store.append([(packed, (name,))])
        store.connection.execute("DELETE FROM dead WHERE number = ?", (number,))
        store.change.dead -= 1
        store.change.bytes += record.size(packed) - row[SIZE]
    return again


def purge(store: Store, wanted: Iterable[int] | DeadFilter) -> int:
    """Delete dead letters and give how many."""
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


def page(store: Store, destination: str, after: int, limit_events: int, limit_bytes: int) -> Page:
    """Give the oldest events after a seq for a lane; events that were damaged on the disk become dead letters."""
    while True:
        routes = store.routes.of(destination)
        found, damaged = read_page(store.connection, routes, destination, after, limit_events, limit_bytes)
        for seq in damaged:
            log.error(
                "event %d for %s was damaged on the disk (%s); it is now a dead letter", seq, destination, store.path
            )
            dead_letter(store, destination, seq, DAMAGED)
        if found or not damaged:
            return found

"""Salvage: copies what can be read of a damaged file, record by record, and skips what cannot."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from evbus_like.engine.outbox.connection import connect_readonly
from evbus_like.engine.outbox.layout import MOST, SEQ_BITS, SEQS, Routes, place_of
from evbus_like.engine.outbox.record import split, time_of
from evbus_like.engine.outbox.row import COLUMNS, is_sound
from evbus_like.engine.outbox.schema import DEAD, EVENT, prepare

WHY = ", ".join(DEAD)


@dataclass
class Salvaged:
    """How much was copied; `again` counts events whose deliveries are unknown."""

    events: int = 0
    dead: int = 0
    again: int = 0


def salvage(path: Path, new: Path) -> Salvaged:
    """Copy what can be read into an empty file, in one transaction; raises only errors of the new file."""
    with closing(sqlite3.connect(new, isolation_level=None)) as target:
        target.execute("PRAGMA synchronous = EXTRA")  # it is renamed next
        prepare(target, str(new))
        target.execute("BEGIN IMMEDIATE")
        try:
            source = connect_readonly(path)
            source.execute("PRAGMA writable_schema = 1")  # else a truncated file cannot be read at all
        except sqlite3.DatabaseError:
            return Salvaged()
        with closing(source):
            events, again = copy_segments(source, target)
            _copy_dead(source, target)
            _copy_handled_ids(source, target)
        dead = target.execute("SELECT count(*) FROM dead").fetchone()[0]
        target.execute("COMMIT")
        return Salvaged(events, dead, again)


def _copy_dead(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    insert = f"INSERT OR IGNORE INTO dead (number, {WHY}, {EVENT}) VALUES ({_marks(1 + len(DEAD) + len(COLUMNS))})"
    for row in scan(source, f"SELECT number, {WHY}, {EVENT} FROM dead WHERE number > ? ORDER BY number"):
        why, event = row[1 : 1 + len(DEAD)], row[1 + len(DEAD) :]
        destination, reason, kind, attempts, first_failed, died = why
        texts = all(isinstance(each, str) for each in (destination, reason, kind))
        numbers = isinstance(attempts, int) and isinstance(died, float) and isinstance(first_failed, float | None)
        if texts and numbers and is_sound(event):
            target.execute(insert, row)


def _copy_handled_ids(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    """Copy the ids of handled events; an event whose id is lost is handled once more, at worst."""
    statement = "SELECT number, listener, id FROM handled WHERE number > ? ORDER BY number"
    for number, listener, event_id in scan(source, statement):
        if isinstance(listener, str) and isinstance(event_id, str):
            target.execute("INSERT OR IGNORE INTO handled VALUES (?, ?, ?)", (number, listener, event_id))


def _marks(count: int) -> str:
    return ", ".join("?" * count)


MANY_NAMES = 10_000  # destinations of one event: more are damage
FEW_ROUTES = 64  # routes that are tried if the table of routes cannot be read


@dataclass(frozen=True)
class Run:
    """Consecutive intact records of a segment; `offset` is the index of the first."""

    offset: int
    records: list[bytes]


def copy_segments(source: sqlite3.Connection, target: sqlite3.Connection) -> tuple[int, int]:
    """Copy all intact events; gives how many there are, and for how many the deliveries are unknown."""
    known = dict(scan(source, "SELECT id, destinations FROM routes WHERE id > ? ORDER BY id"))
    routes = Routes()
    events = again = 0
    for place, count, text, records in _rows(source, known):
        if type(count) is not int or not 1 <= count <= MOST or type(records) is not bytes:
            continue
        number = place >> SEQ_BITS
        names = _names(text) or _names(known.get(number)) or (f"unknown-{number}",)
        route = routes.by_names.get(names)
        if route is None:
            route = routes.make(names)
            target.execute("INSERT INTO routes VALUES (?, ?)", (route.number, route.text))
        marks = _marks_of(source, place, len(names))
        for run in _runs(records, count):
            first = place_of(route.number, (place & SEQS) + run.offset)
            written = _write(target, first, route.text, run, marks or {})
            events += written
            again += written if marks is None else 0
    return events, again


def _rows(source: sqlite3.Connection, known: Iterable[int]) -> Iterator[tuple[Any, ...]]:
    """Read route by route: the keys jump between routes, and the next one could not be found behind a damaged page."""
    statement = "SELECT place, count, destinations, records FROM segments WHERE place > ? ORDER BY place"
    numbers = {*range(FEW_ROUTES), *(number for number in known if place_of(number, 0) < LAST)}
    begins = sorted({place_of(each, 0) - 1 for number in numbers for each in (number, number + 1)})
    for begin, end in pairwise([*begins, LAST]):
        yield from scan(source, statement, begin, end)


def _write(target: sqlite3.Connection, place: int, text: str, run: Run, marks: dict[int, int]) -> int:
    """Write the events of a run that are not delivered everywhere; gives how many."""
    whole = (1 << len(run.records)) - 1
    its = {number: bits >> run.offset & whole for number, bits in marks.items()}
    if len(its) == len(json.loads(text)) and all(bits == whole for bits in its.values()):
        return 0  # the undelivered ones are damaged
    row = (place, len(run.records), time_of(run.records[0]), text, b"".join(run.records))
    if not target.execute("INSERT OR IGNORE INTO segments VALUES (?, ?, ?, ?, ?)", row).rowcount:
        return 0
    target.executemany("INSERT INTO done VALUES (?, ?, ?)", ((place, *mark) for mark in its.items() if mark[1]))
    return len(run.records)


def _runs(records: bytes, count: int) -> list[Run]:
    runs: list[Run] = []
    run: Run | None = None
    for offset, (record, intact) in enumerate(split(records, count)):
        if not intact:
            run = None
            continue
        if run is None:
            run = Run(offset, [])
            runs.append(run)
        run.records.append(record)
    return runs


def _marks_of(source: sqlite3.Connection, place: int, destinations: int) -> dict[int, int] | None:
    """Read which events of a segment each destination has; None if that cannot be read."""
    try:
        rows = source.execute("SELECT destination, bits FROM done WHERE place = ?", (place,)).fetchall()
    except sqlite3.DatabaseError:
        return None
    if all(type(number) is int and 0 <= number < destinations and type(bits) is int for number, bits in rows):
        return dict(rows)
    return None


def _names(text: Any) -> tuple[str, ...]:
    try:
        names = json.loads(text)
    except (TypeError, ValueError):
        return ()
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(names) > MANY_NAMES:
        return ()
    return tuple(dict.fromkeys(names))


LAST = 2**62  # greater than every key


def scan(source: sqlite3.Connection, statement: str, after: int = -1, last: int = LAST) -> Iterator[tuple[Any, ...]]:
    """Yield the readable rows of a damaged table by their keys, which are the first column.

    The statement selects rows with keys greater than its one variable. Damage hides the keys of a page or more: what
    follows is found in growing steps, and then by bisection.
    """
    while True:
        try:
            for row in source.execute(statement, (after,)):
                if type(row[0]) is not int or not after < row[0] < LAST:
                    raise sqlite3.DatabaseError("keys out of order")
                if row[0] > last:
                    return
                after = row[0]
                yield row
            return
        except sqlite3.DatabaseError:
            beyond = _beyond(source, statement, after, last)
            if beyond is None:
                return
            single = _first(
                source, statement, beyond
            )  # sqlite3 reads one row ahead, and loses the last row before damage
            if single is None or single[0] > last:
                return
            after = single[0]
            yield single


def _beyond(source: sqlite3.Connection, statement: str, after: int, end: int) -> int | None:
    """Find the smallest key after which rows can be read again, or one near it.

    Steps grow by a sixteenth: a readable stretch that is shorter than a step may be skipped.
    """
    if _readable(source, statement, after):
        return after
    step = last = 1
    while not _readable(source, statement, after + step):
        last, step = step, step + 1 + step // 16
        if after + step > end:
            return None
    unreadable, readable = after + last, after + step
    while readable - unreadable > 1:
        middle = (unreadable + readable) // 2
        if _readable(source, statement, middle):
            readable = middle
        else:
            unreadable = middle
    return readable


def _readable(source: sqlite3.Connection, statement: str, after: int) -> bool:
    try:
        row = _first(source, statement, after)
    except sqlite3.DatabaseError:
        return False
    return row is None or (type(row[0]) is int and after < row[0] < LAST)


def _first(source: sqlite3.Connection, statement: str, after: int) -> tuple[Any, ...] | None:
    with closing(source.execute(f"{statement} LIMIT 1", (after,))) as rows:
        row: tuple[Any, ...] | None = rows.fetchone()
        return row

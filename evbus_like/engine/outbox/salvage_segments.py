"""Salvage of what waits: segments are copied record by record, without those that are damaged."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from evbus_like.engine.outbox.record import split, time_of
from evbus_like.engine.outbox.routes import Routes
from evbus_like.engine.outbox.scan import LAST, scan
from evbus_like.engine.outbox.segment import MOST, SEQ_BITS, SEQS, place_of

MANY_NAMES = 10_000  # destinations of one event: more are garbage
FEW_ROUTES = 64  # that are looked for where the table of routes cannot be read


@dataclass(frozen=True)
class Run:
    """Intact records of a segment that follow each other; `offset` says where in it."""

    offset: int
    records: list[bytes]


def copy_segments(source: sqlite3.Connection, target: sqlite3.Connection) -> tuple[int, int]:
    """Copy all that is intact; give how many events there are, and of how many it is not known who has them."""
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
    """Read route by route: between them the keys leap, and behind a damaged page the next would not be found."""
    statement = "SELECT place, count, destinations, records FROM segments WHERE place > ? ORDER BY place"
    numbers = {*range(FEW_ROUTES), *(number for number in known if place_of(number, 0) < LAST)}
    begins = sorted({place_of(each, 0) - 1 for number in numbers for each in (number, number + 1)})
    for begin, end in pairwise([*begins, LAST]):
        yield from scan(source, statement, begin, end)


def _write(target: sqlite3.Connection, place: int, text: str, run: Run, marks: dict[int, int]) -> int:
    """Write the events of a run that somebody has not got, and say how many there are."""
    whole = (1 << len(run.records)) - 1
    its = {number: bits >> run.offset & whole for number, bits in marks.items()}
    if len(its) == len(json.loads(text)) and all(bits == whole for bits in its.values()):
        return 0  # those that waited are damaged
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
    """Read what each destination has of a segment, or None where that cannot be read."""
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

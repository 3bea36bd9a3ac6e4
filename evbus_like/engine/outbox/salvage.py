"""Salvage: copies what can be read of a damaged file and its log, record by record, and counts what cannot."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import Any

from evbus_like.engine.outbox.dead_letters import DAMAGED
from evbus_like.engine.outbox.layout import MOST, SEQ_BITS, SEQS, Routes, place_of
from evbus_like.engine.outbox.pages import INDEX, TABLE, Pages
from evbus_like.engine.outbox.record import is_intact, split, time_of, unpack
from evbus_like.engine.outbox.row import COLUMNS, is_sound
from evbus_like.engine.outbox.row import pack as pack_row
from evbus_like.engine.outbox.schema import DEAD, EVENT, checksum, prepare, schedule_sum
from evbus_like.engine.outbox.wal import PAGE, Log

MANY_NAMES = 10_000  # destinations of one event: more are damage
FIRST_FAILED, DIED, TIMESTAMP = 5, 6, 13  # places in a dead letter's row
INSERT_DEAD = (
    f"INSERT OR IGNORE INTO dead (number, {', '.join(DEAD)}, {EVENT})"
    f" VALUES ({', '.join('?' * (1 + len(DEAD) + len(COLUMNS)))})"
)


@dataclass
class Salvaged:
    """How much was copied; `again` counts events whose deliveries are unknown, `damaged` those with a wrong checksum.

    `unread` counts bytes that hold nothing readable, and those known to be missing.
    """

    events: int = 0
    dead: int = 0
    again: int = 0
    damaged: int = 0
    unread: int = 0


def salvage(path: Path, new: Path, log: Log) -> Salvaged:
    """Copy what can be read into an empty file, in one transaction; raises only errors of the new file."""
    with closing(sqlite3.connect(new, isolation_level=None)) as target:
        target.execute("PRAGMA synchronous = EXTRA")  # it is renamed next
        prepare(target, str(new))
        target.execute("BEGIN IMMEDIATE")
        pages = Pages(path, log)
        found = _Salvage(pages, target).run()
        target.execute("COMMIT")
        found.unread = log.stale + PAGE * (log.missing + pages.torn + pages.unread)
        return found


class _Salvage:
    """One salvage. The rows of a table are recognised by the number and the types of their values."""

    def __init__(self, pages: Pages, target: sqlite3.Connection) -> None:
        self._pages = pages
        self._target = target
        self._found = Salvaged()
        self._names: dict[int, tuple[str, ...]] = {}  # of routes, as the table of routes has them
        self._marks: defaultdict[int, dict[int, int]] = defaultdict(dict)  # by place, the bits of each destination
        self._tables: set[str] = set()
        self._routes = Routes()

    def run(self) -> Salvaged:
        """Copy all rows."""
        self._read_marks()
        for number, values in self._pages.rows(TABLE):
            if len(values) == 2 and values[0] is None:
                self._names.setdefault(number, _names(values[1]))
            elif len(values) == 5 and values[0] == "table":
                self._tables.add(values[1])
        for number, values in self._pages.rows(TABLE):
            if len(values) == 5 and type(values[4]) is bytes:
                self._copy_segment(number, *values[1:])
            elif len(values) == 1 + len(DEAD) + len(COLUMNS):
                self._copy_dead(number, values)
            elif len(values) == 7 and type(values[6]) is bytes:
                self._copy_scheduled(number, *values[1:])
            elif len(values) == 3 and isinstance(values[1], str) and isinstance(values[2], str):
                self._target.execute("INSERT OR IGNORE INTO handled VALUES (?, ?, ?)", (number, *values[1:]))
        count = self._target.execute("SELECT count(*) FROM dead").fetchone()
        self._found.dead = count[0]
        return self._found

    def _read_marks(self) -> None:
        for _, values in self._pages.rows(INDEX):
            if len(values) == 4 and all(type(each) is int for each in values):
                place, destination, bits, its_sum = values
                if its_sum == checksum(place, destination, bits):
                    self._marks[place].setdefault(destination, bits)

    def _copy_segment(self, place: int, count: Any, oldest: Any, text: Any, records: bytes) -> None:
        if type(count) is not int or not 1 <= count <= MOST or not 0 < place < 1 << 62:
            self._found.damaged += 1
            return
        number = place >> SEQ_BITS
        names = _names(text) or self._names.get(number) or (f"unknown-{number}",)
        route = self._routes.by_names.get(names)
        if route is None:
            route = self._routes.make(names)
            self._target.execute("INSERT INTO routes VALUES (?, ?)", (route.number, route.text))
        marks = {each: bits for each, bits in self._marks.get(place, {}).items() if 0 <= each < len(names)}
        whole = (1 << count) - 1
        if len(marks) == len(names) and all(bits & whole == whole for bits in marks.values()):
            return
        for run in _runs(records, count):
            first = place_of(route.number, (place & SEQS) + run.offset)
            written = self._write(first, route.text, run, marks)
            self._found.events += written
            self._found.again += 0 if "done" in self._tables or not self._tables else written
        self._found.damaged += sum(not intact for _, intact in split(records, count))

    def _write(self, place: int, text: str, run: Run, marks: dict[int, int]) -> int:
        """Write the events of a run that are not delivered everywhere; gives how many."""
        whole = (1 << len(run.records)) - 1
        its = {number: bits >> run.offset & whole for number, bits in marks.items()}
        if len(its) == len(json.loads(text)) and all(bits == whole for bits in its.values()):
            return 0  # the undelivered ones are damaged
        row = (place, len(run.records), time_of(run.records[0]), text, b"".join(run.records))
        if not self._target.execute("INSERT OR IGNORE INTO segments VALUES (?, ?, ?, ?, ?)", row).rowcount:
            return 0
        self._target.executemany(
            "INSERT INTO done VALUES (?, ?, ?, ?)",
            ((place, *mark, checksum(place, *mark)) for mark in its.items() if mark[1]),
        )
        return len(run.records)

    def _copy_dead(self, number: int, values: Sequence[Any]) -> None:
        row = [number, *values[1:]]
        for place in (FIRST_FAILED, DIED, TIMESTAMP):  # SQLite stores 5.0 as an integer
            row[place] = float(row[place]) if type(row[place]) is int else row[place]
        destination, reason, kind, attempts, first_failed, died = row[1 : 1 + len(DEAD)]
        texts = all(isinstance(each, str) for each in (destination, reason, kind))
        numbers = isinstance(attempts, int) and isinstance(died, float) and isinstance(first_failed, float | None)
        if texts and numbers and is_sound(row[1 + len(DEAD) :]):
            self._target.execute(INSERT_DEAD, row)
        else:
            self._found.damaged += 1

    def _copy_scheduled(
        self, number: int, due: Any, id_: Any, profile: Any, text: Any, its_sum: Any, held: Any
    ) -> None:
        """Copy a scheduled event; a dead letter is made of one whose time, or destinations, may be wrong."""
        due = float(due) if type(due) is int else due
        if not is_intact(held):
            self._found.damaged += 1
        elif its_sum == schedule_sum(due, id_, profile, text):
            row = (number, due, id_, profile, text, its_sum, held)
            statement = "INSERT OR IGNORE INTO scheduled VALUES (?, ?, ?, ?, ?, ?, ?)"
            self._found.events += self._target.execute(statement, row).rowcount
        else:
            names = _names(text) or ("unknown",)
            values = (names[0], DAMAGED.reason, DAMAGED.kind, 0, None, time(), *pack_row(unpack(held)))
            self._target.execute(INSERT_DEAD, (None, *values))


@dataclass(frozen=True)
class Run:
    """Consecutive intact records of a segment; `offset` is the index of the first."""

    offset: int
    records: list[bytes]


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


def _names(text: Any) -> tuple[str, ...]:
    try:
        names = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return ()
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(names) > MANY_NAMES:
        return ()
    return tuple(dict.fromkeys(names))

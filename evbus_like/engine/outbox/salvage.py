"""Salvage: copies what can be read of a damaged file, row by row, stepping over what cannot."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evbus_like.engine.outbox.connection import connect_readonly
from evbus_like.engine.outbox.record import COLUMNS, is_sound
from evbus_like.engine.outbox.schema import DEAD, EVENT, prepare

LAST = 2**62  # no key is beyond it
WHY = ", ".join(DEAD)


@dataclass
class Salvaged:
    """How much was copied; of `again` events nothing says who has them, so all their destinations get them."""

    events: int = 0
    dead: int = 0
    again: int = 0


def salvage(path: Path, new: Path) -> Salvaged:
    """Copy into an empty file, all or nothing; what is raised is the trouble of the new file or of its disk."""
    with closing(sqlite3.connect(new, isolation_level=None)) as target:
        target.execute("PRAGMA synchronous = EXTRA")  # it is renamed next
        prepare(target, str(new))
        target.execute("BEGIN IMMEDIATE")
        try:
            source = connect_readonly(path)
            source.execute("PRAGMA writable_schema = 1")  # else a file shorter than it says is not read at all
        except sqlite3.DatabaseError:
            return Salvaged()
        with closing(source):
            _copy_pending(source, target)
            _copy_events(source, target)
            _copy_dead(source, target)
        again = _mend(target)
        events, dead = (target.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("events", "dead"))
        target.execute("COMMIT")
        return Salvaged(events, dead, again)


def _copy_pending(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    names = dict(scan(source, "SELECT id, name FROM destinations WHERE id > ? ORDER BY id"))
    for id_, _ in scan(
        source, "SELECT DISTINCT destination, 0 FROM pending WHERE destination > ? ORDER BY destination"
    ):
        names.setdefault(id_, None)
    for id_, name in names.items():
        known = name if isinstance(name, str) else f"unknown-{id_}"
        target.execute("INSERT OR IGNORE INTO destinations VALUES (?, ?)", (id_, known))
        statement = f"SELECT seq, 0 FROM pending WHERE destination = {id_} AND seq > ? ORDER BY seq"
        insert = f"INSERT OR IGNORE INTO pending VALUES ({id_}, ?, ?)"
        target.executemany(insert, scan(source, statement))


def _copy_events(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    insert = f"INSERT OR IGNORE INTO events (seq, destinations, {EVENT}) VALUES ({_marks(2 + len(COLUMNS))})"
    rows = scan(source, f"SELECT seq, destinations, {EVENT} FROM events WHERE seq > ? ORDER BY seq")
    target.executemany(insert, (row for row in rows if _names(row[1]) and is_sound(row[2:])))


def _copy_dead(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    insert = f"INSERT OR IGNORE INTO dead (number, {WHY}, {EVENT}) VALUES ({_marks(1 + len(DEAD) + len(COLUMNS))})"
    for row in scan(source, f"SELECT number, {WHY}, {EVENT} FROM dead WHERE number > ? ORDER BY number"):
        why, event = row[1 : 1 + len(DEAD)], row[1 + len(DEAD) :]
        destination, reason, kind, attempts, first_failed, died = why
        texts = all(isinstance(each, str) for each in (destination, reason, kind))
        numbers = isinstance(attempts, int) and isinstance(died, float) and isinstance(first_failed, float | None)
        if texts and numbers and is_sound(event):
            target.execute(insert, row)


def _mend(target: sqlite3.Connection) -> int:
    """Make the tables agree again, and say of how many events it is not known who has them."""
    execute = target.execute
    execute("DELETE FROM pending WHERE seq NOT IN (SELECT seq FROM events)")
    lost = execute("SELECT seq, destinations FROM events WHERE seq NOT IN (SELECT seq FROM pending)").fetchall()
    for seq, text in lost:
        for name in _names(text):
            execute("INSERT OR IGNORE INTO destinations (name) VALUES (?)", (name,))
            execute("INSERT OR IGNORE INTO pending SELECT id, ?, 0 FROM destinations WHERE name = ?", (seq, name))
    execute("UPDATE pending SET shared = 1 WHERE seq IN (SELECT seq FROM pending GROUP BY seq HAVING count(*) > 1)")
    return len(lost)


def _names(text: Any) -> list[str]:
    try:
        names = json.loads(text)
    except (TypeError, ValueError):
        return []
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else []


def scan(source: sqlite3.Connection, statement: str) -> Iterator[tuple[Any, ...]]:
    """Yield rows by their keys, the first column, which the statement says is greater than its one variable.

    Damage hides the keys of a page or of a few: what comes behind is found in growing steps, and then to the key.
    """
    after = -1
    while True:
        try:
            for row in source.execute(statement, (after,)):
                if type(row[0]) is not int or not after < row[0] < LAST:
                    raise sqlite3.DatabaseError("keys out of order")
                after = row[0]
                yield row
            return
        except sqlite3.DatabaseError:
            beyond = _beyond(source, statement, after)
            if beyond is None:
                return
            after = beyond


def _beyond(source: sqlite3.Connection, statement: str, after: int) -> int | None:
    """Find the least key from which on rows can be read again."""
    step = 1
    while not _readable(source, statement, after + step):
        step *= 2
        if after + step > LAST:
            return None
    unreadable, readable = after + step // 2, after + step
    while readable - unreadable > 1:
        middle = (unreadable + readable) // 2
        if _readable(source, statement, middle):
            readable = middle
        else:
            unreadable = middle
    return readable


def _readable(source: sqlite3.Connection, statement: str, after: int) -> bool:
    try:
        with closing(source.execute(statement, (after,))) as rows:
            row = rows.fetchone()
    except sqlite3.DatabaseError:
        return False
    return row is None or (type(row[0]) is int and after < row[0] < LAST)


def _marks(count: int) -> str:
    return ", ".join("?" * count)

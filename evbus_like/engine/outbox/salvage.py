"""Salvage: copies what can be read of a damaged file, record by record, stepping over what cannot."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from evbus_like.engine.outbox import handled
from evbus_like.engine.outbox.connection import connect_readonly
from evbus_like.engine.outbox.row import COLUMNS, is_sound
from evbus_like.engine.outbox.salvage_segments import copy_segments
from evbus_like.engine.outbox.scan import scan
from evbus_like.engine.outbox.schema import DEAD, EVENT, prepare

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
            events, again = copy_segments(source, target)
            _copy_dead(source, target)
            handled.salvage(source, target)
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


def _marks(count: int) -> str:
    return ", ".join("?" * count)

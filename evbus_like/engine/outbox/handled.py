"""The ids of events that handlers were done with, by listener: the newest, so that a repeat is known for one."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING

from evbus_like.engine.outbox.scan import scan

if TYPE_CHECKING:
    from evbus_like.engine.outbox.store import Store

# A number for the order; an id that is noted again is the newest again.
CREATE = (
    "CREATE TABLE handled (number INTEGER PRIMARY KEY, listener TEXT NOT NULL, id TEXT NOT NULL)",
    "CREATE UNIQUE INDEX handled_ids ON handled (listener, id)",
)


def migrate(connection: sqlite3.Connection) -> None:
    """Make the table, in a file of version 1 or in a new one."""
    for statement in CREATE:
        connection.execute(statement)


def latest(connection: sqlite3.Connection, listener: str, most: int) -> list[str]:
    """Give the ids of a listener that were noted last, the oldest first."""
    rows = connection.execute(
        "SELECT id FROM handled WHERE listener = ? ORDER BY number DESC LIMIT ?", (listener, most)
    ).fetchall()
    return [event_id for (event_id,) in reversed(rows)]


def keep(store: Store, listener: str, most: int) -> list[str]:
    """Give the newest ids of a listener, the oldest first, and forget those beyond `most`."""
    ids = latest(store.connection, listener, most)
    store.connection.execute(
        "DELETE FROM handled WHERE listener = ? AND number NOT IN"
        " (SELECT number FROM handled WHERE listener = ? ORDER BY number DESC LIMIT ?)",
        (listener, listener, most),
    )
    return ids


def note(store: Store, listener: str, event_id: str, gone: Sequence[str]) -> None:
    """Note the id of an event that was handled, and forget those that had to make room."""
    execute = store.connection.execute
    execute("INSERT OR REPLACE INTO handled (listener, id) VALUES (?, ?)", (listener, event_id))
    for old in gone:
        execute("DELETE FROM handled WHERE listener = ? AND id = ?", (listener, old))


def salvage(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    """Copy what can be read of a damaged file; what cannot is handled once more, at worst."""
    try:
        source.execute("SELECT 1 FROM handled LIMIT 1")
    except sqlite3.DatabaseError:  # a file of version 1, or one whose list of tables is damaged
        return
    statement = "SELECT number, listener, id FROM handled WHERE number > ? ORDER BY number"
    for number, listener, event_id in scan(source, statement):
        if isinstance(listener, str) and isinstance(event_id, str):
            target.execute("INSERT OR IGNORE INTO handled VALUES (?, ?, ?)", (number, listener, event_id))

"""The tables of the outbox, and how an older file becomes a newer one."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from evbus_like.engine.outbox.errors import NewerOutbox
from evbus_like.engine.outbox.record import COLUMNS

VERSION = 1
APPLICATION = 0x65766273  # "evbs": tells our files from those of other programs
PLAUSIBLE = 1000  # versions beyond this are garbage in a damaged header, not a later release

EVENT = ", ".join(COLUMNS)
DEAD = ("destination", "reason", "kind", "attempts", "first_failed", "died")
TABLES = ("destinations", "events", "pending", "dead")

# What an event holds. `key` and `headers` have no type, so that SQLite keeps the one they come with; the body is last,
# so that reading the other columns does not read it.
_HELD = """
    id TEXT NOT NULL, routing_key TEXT NOT NULL, profile TEXT NOT NULL, headers, key, content_type TEXT NOT NULL,
    timestamp REAL NOT NULL, size INTEGER NOT NULL, crc INTEGER NOT NULL,
    body BLOB NOT NULL"""

# `destinations` is a JSON list of names, for a file that has to be recovered; `pending` says who of them still has to
# get the event. Few events go to several destinations, so only the rows of those
# (`shared`) are in the index that finds the others that wait for the same body.
CREATE = (
    "CREATE TABLE destinations (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
    f"CREATE TABLE events (seq INTEGER PRIMARY KEY, destinations TEXT NOT NULL, {_HELD})",
    """CREATE TABLE pending (destination INTEGER NOT NULL, seq INTEGER NOT NULL, shared INTEGER NOT NULL,
    PRIMARY KEY (destination, seq)) WITHOUT ROWID""",
    "CREATE INDEX pending_shared ON pending (seq) WHERE shared",
    f"""CREATE TABLE dead (number INTEGER PRIMARY KEY AUTOINCREMENT, destination TEXT NOT NULL, reason TEXT NOT NULL,
    kind TEXT NOT NULL, attempts INTEGER NOT NULL, first_failed REAL, died REAL NOT NULL, {_HELD})""",
)

# From a version to the next, in one transaction with all that follow.
MIGRATIONS: dict[int, Callable[[sqlite3.Connection], None]] = {}


def version_of(connection: sqlite3.Connection, path: str) -> int:
    """Give the file's version, 0 for an empty one; raises NewerOutbox for a file that is not ours to touch.

    An SQLite error means that the file is damaged or cannot be read.
    """
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    application: int = connection.execute("PRAGMA application_id").fetchone()[0]
    ours = application == APPLICATION or tables.issuperset(TABLES)
    if tables and not ours:
        raise NewerOutbox(
            f"{path} is an SQLite database of another program (tables {', '.join(sorted(tables)[:5])});"
            " give the outbox a path of its own"
        )
    if ours and VERSION < version < PLAUSIBLE:
        raise NewerOutbox(
            f"the outbox {path} has version {version}, and this release of evbus_like knows {VERSION};"
            " install the release that wrote it, or give a new path"
        )
    if tables and not (1 <= version <= VERSION and tables.issuperset(TABLES)):
        missing = ", ".join(sorted(set(TABLES) - tables)) or "none"
        raise sqlite3.DatabaseError(f"version {version}, missing tables: {missing}")
    return version if tables else 0


def prepare(connection: sqlite3.Connection, path: str) -> None:
    """Create the tables in an empty file, or bring those of an older release up to date."""
    version = version_of(connection, path)
    if version == VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    if version == 0:
        for statement in CREATE:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
    else:
        for old in range(version, VERSION):
            MIGRATIONS[old](connection)
    connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")

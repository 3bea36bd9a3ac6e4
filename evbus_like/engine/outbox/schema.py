"""The tables of the outbox, and how an older file becomes a newer one."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from evbus_like.engine.outbox import handled
from evbus_like.engine.outbox.errors import NewerOutbox
from evbus_like.engine.outbox.row import COLUMNS

VERSION = 2
APPLICATION = 0x65766273  # "evbs": tells our files from those of other programs
PLAUSIBLE = 1000  # versions beyond this are garbage in a damaged header, not a later release

EVENT = ", ".join(COLUMNS)
DEAD = ("destination", "reason", "kind", "attempts", "first_failed", "died")
TABLES = ("routes", "segments", "done", "dead")  # of every version
SINCE_2 = ("handled",)

# `segments` holds what waits: see segment.py for `place`, record.py for `records`. `oldest` is the time of its first
# event. `destinations` is a JSON list of names, in each row, too, for a file that has to be recovered.
# `done` is for segments that only some have, or of which only some was delivered: `destination` is the place of a name
# in the list, from 0, `bits` are the events that it has, the first in the lowest. A segment that all have is deleted.
# In `dead`, `key` and `headers` have no type, so that SQLite keeps the one they come with; the body is last, so that
# reading the other columns does not read it.
CREATE = (
    "CREATE TABLE routes (id INTEGER PRIMARY KEY, destinations TEXT NOT NULL UNIQUE)",
    """CREATE TABLE segments (place INTEGER PRIMARY KEY, count INTEGER NOT NULL, oldest REAL NOT NULL,
    destinations TEXT NOT NULL, records BLOB NOT NULL)""",
    """CREATE TABLE done (place INTEGER NOT NULL, destination INTEGER NOT NULL, bits INTEGER NOT NULL,
    PRIMARY KEY (place, destination)) WITHOUT ROWID""",
    """CREATE TABLE dead (number INTEGER PRIMARY KEY AUTOINCREMENT, destination TEXT NOT NULL, reason TEXT NOT NULL,
    kind TEXT NOT NULL, attempts INTEGER NOT NULL, first_failed REAL, died REAL NOT NULL, id TEXT NOT NULL,
    routing_key TEXT NOT NULL, profile TEXT NOT NULL, headers, key, content_type TEXT NOT NULL,
    timestamp REAL NOT NULL, size INTEGER NOT NULL, crc INTEGER NOT NULL, body BLOB NOT NULL)""",
)

# From a version to the next, in one transaction with all that follow.
MIGRATIONS: dict[int, Callable[[sqlite3.Connection], None]] = {1: handled.migrate}


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
    wanted = {*TABLES, *(SINCE_2 if version >= 2 else ())}
    if tables and not (1 <= version <= VERSION and tables >= wanted):
        missing = ", ".join(sorted(wanted - tables)) or "none"
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
        handled.migrate(connection)
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
    else:
        for old in range(version, VERSION):
            MIGRATIONS[old](connection)
    connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")

"""The tables of the outbox."""

from __future__ import annotations

import sqlite3
from secrets import randbelow
from typing import Any
from zlib import crc32

from evbus_like.engine.errors import NewerOutbox
from evbus_like.engine.outbox.layout import MOST, SEQ_BITS
from evbus_like.engine.outbox.row import COLUMNS

VERSION = 4
BEFORE = (2, 3)  # versions that are renewed: the marks of 2 have no checksum, and 3 has no scheduled events
APPLICATION = 0x65766273  # "evbs": tells our files from those of other programs
FEW_SCHEMAS = 1000  # the number of a schema is random in our files, so that their logs cannot be confused: see wal.py
PLAUSIBLE = 1000  # higher versions mean a damaged header, not a later release

EVENT = ", ".join(COLUMNS)
DEAD = ("destination", "reason", "kind", "attempts", "first_failed", "died")
TABLES = ("routes", "segments", "done", "dead", "handled")  # of all versions

# `segments` holds pending events: see layout.py for `place`, record.py for `records`. `oldest` is the time of the first
# event. `destinations` is a JSON list of names, repeated in each row for the recovery of a damaged file.
# `done` is for partly delivered segments: `destination` is the index of a name in the list, `bits` has a bit for each
# event that it has, the first event in the lowest bit; `sum` is a checksum of the row, so that damage does not make
# an event delivered. A segment that all destinations have is deleted.
# In `dead`, `key` and `headers` have no type, so that SQLite keeps the type of the value; the body is last, so that
# reading the other columns does not read it.
# `scheduled` holds events until they are due, in seconds since 1970. An event has a row for each form in which it is
# sent: `destinations` are those that get this form at the time of the put, `record` is as in `segments`, and `sum` is a
# checksum of the columns before it.
# `handled` holds the newest ids of events that a listener has handled; an id that comes again gets a new `number`.
CREATE = (
    "CREATE TABLE routes (id INTEGER PRIMARY KEY, destinations TEXT NOT NULL UNIQUE)",
    """CREATE TABLE segments (place INTEGER PRIMARY KEY, count INTEGER NOT NULL, oldest REAL NOT NULL,
    destinations TEXT NOT NULL, records BLOB NOT NULL)""",
    """CREATE TABLE done (place INTEGER NOT NULL, destination INTEGER NOT NULL, bits INTEGER NOT NULL,
    sum INTEGER NOT NULL, PRIMARY KEY (place, destination)) WITHOUT ROWID""",
    """CREATE TABLE dead (number INTEGER PRIMARY KEY AUTOINCREMENT, destination TEXT NOT NULL, reason TEXT NOT NULL,
    kind TEXT NOT NULL, attempts INTEGER NOT NULL, first_failed REAL, died REAL NOT NULL, id TEXT NOT NULL,
    routing_key TEXT NOT NULL, profile TEXT NOT NULL, headers, key, content_type TEXT NOT NULL,
    timestamp REAL NOT NULL, size INTEGER NOT NULL, crc INTEGER NOT NULL, body BLOB NOT NULL)""",
    "CREATE TABLE handled (number INTEGER PRIMARY KEY, listener TEXT NOT NULL, id TEXT NOT NULL)",
    "CREATE UNIQUE INDEX handled_ids ON handled (listener, id)",
)
SCHEDULED = (
    """CREATE TABLE scheduled (number INTEGER PRIMARY KEY, due REAL NOT NULL, id TEXT NOT NULL, profile TEXT NOT NULL,
    destinations TEXT NOT NULL, sum INTEGER NOT NULL, record BLOB NOT NULL)""",
    "CREATE INDEX scheduled_due ON scheduled (due, number)",
    "CREATE INDEX scheduled_ids ON scheduled (id)",
)


def version_of(connection: sqlite3.Connection, path: str) -> int:
    """Give the file's version, 0 for an empty one; raises NewerOutbox for a file of another program or release.

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
            f"the outbox {path} has version {version}, and this release of evbus_like knows version {VERSION};"
            " install the release that wrote it, or give a new path"
        )
    expected = {*TABLES, "scheduled"} if version == VERSION else {*TABLES}
    if tables and (version not in (*BEFORE, VERSION) or not tables.issuperset(expected)):
        missing = ", ".join(sorted(expected - tables)) or "none"
        raise sqlite3.DatabaseError(f"version {version}, missing tables: {missing}")
    return version if tables else 0


def prepare(connection: sqlite3.Connection, path: str) -> None:
    """Create the tables where the file is empty, and renew older ones; raises what `version_of` raises."""
    version = version_of(connection, path)
    if version == VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    if version in BEFORE:
        if version == BEFORE[0]:
            connection.execute("ALTER TABLE done ADD COLUMN sum INTEGER NOT NULL DEFAULT 0")
            connection.execute(f"UPDATE done SET sum = {SUM}")
        statements: tuple[str, ...] = SCHEDULED
    else:
        connection.execute(f"PRAGMA schema_version = {FEW_SCHEMAS + randbelow(2**31 - 2 * FEW_SCHEMAS)}")
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        statements = (*CREATE, *SCHEDULED)
    for statement in statements:
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")


# The checksum of a mark, as SQL and as `checksum`.
SUM = "bits % 1000003 * 4099 + place % 999983 * 67 + destination + 1"

# Rows that only damage can have made: other types than were written, or names that differ from those of their route.
ROUTED = f"segments LEFT JOIN routes ON routes.id = place >> {SEQ_BITS}"
IMPOSSIBLE = {
    ROUTED: f"segments.destinations IS NOT routes.destinations OR typeof(count) <> 'integer' OR"
    f" count NOT BETWEEN 1 AND {MOST} OR typeof(oldest) <> 'real' OR typeof(records) <> 'blob'",
    "routes": "typeof(destinations) <> 'text' OR destinations NOT LIKE '[\"%\"]'",
    "done": f"typeof(bits) <> 'integer' OR typeof(destination) <> 'integer' OR sum IS NOT {SUM}",
    "scheduled": "typeof(due) <> 'real' OR typeof(record) <> 'blob' OR"
    " sum IS NOT schedule_sum(due, id, profile, destinations)",
    "dead": "typeof(destination) <> 'text' OR typeof(reason) <> 'text' OR typeof(died) <> 'real'"
    " OR typeof(size) <> 'integer' OR typeof(crc) <> 'integer' OR typeof(body) <> 'blob'",
}


def checksum(place: int, destination: int, bits: int) -> int:
    """Return the checksum of a mark."""
    return bits % 1000003 * 4099 + place % 999983 * 67 + destination + 1


def impossible_rows(connection: sqlite3.Connection, version: int) -> int:
    """Count the rows that only damage can have made, in a file of this version; the first page of each row is read."""
    connection.create_function("schedule_sum", 4, schedule_sum, deterministic=True)
    since = {"done": 3, "scheduled": VERSION}  # the versions whose rows have these checksums
    return sum(
        connection.execute(f"SELECT count(*) FROM {rows} WHERE {wrong}").fetchone()[0]
        for rows, wrong in IMPOSSIBLE.items()
        if version >= since.get(rows, 0)
    )


def schedule_sum(due: Any, id_: Any, profile: Any, destinations: Any) -> int:
    """Return the checksum of a scheduled event's columns but its record, which has one of its own."""
    return crc32(repr((due, id_, profile, destinations)).encode("utf-8", "backslashreplace"))

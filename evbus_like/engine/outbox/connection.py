"""Connections to the file: the writer's and the readers', and what SQLite's errors mean."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from evbus_like.engine.errors import StorageError

BUSY = 5.0  # seconds to wait while another program (a backup, a shell) has the file locked
WAL_LIMIT = 64 * 1024 * 1024  # bytes that the -wal file shrinks back to after it had to grow


def connect(path: Path) -> sqlite3.Connection:
    """Open the file for the writer; every commit is on the disk when it returns."""
    connection = sqlite3.connect(path, timeout=BUSY, isolation_level=None, check_same_thread=False)
    try:
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise sqlite3.OperationalError(f"no write-ahead log on this file system (journal mode {mode!r})")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = 1")  # macOS: fsync alone leaves the data in the drive's cache
        connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT}")
        connection.execute("PRAGMA secure_delete = FAST")  # no extra writes to zero what was delivered
    except BaseException:
        connection.close()
        raise
    return connection


def connect_readonly(path: Path) -> sqlite3.Connection:
    """Open the file for reading, beside a writer or without one.

    The connection never writes or checkpoints, not even when it is closed: SQLite before 3.51.3 can corrupt its log
    when two connections do.
    """
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("PRAGMA query_only = 1")
    except BaseException:
        connection.close()
        raise
    return connection


# Errors of a file that was torn or overwritten. All others come from the disk or from permissions, and may pass.
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_ERROR)
ADVICE = {
    sqlite3.SQLITE_FULL: "free some space on its disk; it works again as soon as there is room",
    sqlite3.SQLITE_READONLY: "make the file, its folder and its disk writable for this user",
    sqlite3.SQLITE_CANTOPEN: "check that its folder exists and that this user may write there",
    sqlite3.SQLITE_BUSY: "another program keeps the file locked: end it",
    sqlite3.SQLITE_CORRUPT: "start the bus again: it moves the file aside and recovers what can be read",
    sqlite3.SQLITE_NOTADB: "start the bus again: it moves the file aside and recovers what can be read",
}

CHECK = "check the disk and the permissions of the file and its folder"


def primary_code(error: BaseException) -> int | None:
    """Give SQLite's primary result code of an error."""
    code = getattr(error, "sqlite_errorcode", None)
    return code & 0xFF if isinstance(code, int) else None


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file itself is damaged, rather than the disk failing or permissions missing."""
    return primary_code(error) in DAMAGED


def is_storage(error: BaseException) -> bool:
    """Whether the disk or the file is the cause, so that any other transaction would fail, too."""
    if isinstance(error, sqlite3.OperationalError | OSError):
        return True
    return isinstance(error, sqlite3.DatabaseError) and primary_code(error) in DAMAGED


def is_suspect(error: BaseException) -> bool:
    """Whether a connection that raised this should be replaced."""
    passing = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    return is_storage(error) and primary_code(error) not in passing


def storage_error(path: str, error: BaseException, doing: str = "written") -> StorageError:
    """Build the StorageError that says what happened, to which file, and what to do."""
    advice = f"; {ADVICE.get(primary_code(error) or 0, CHECK)}"
    if isinstance(error, OSError) and error.errno is None:
        advice = ""  # our own, which says what to do
    found = StorageError(f"the outbox {path} cannot be {doing}: {error}{advice}")
    found.__cause__ = error
    return found

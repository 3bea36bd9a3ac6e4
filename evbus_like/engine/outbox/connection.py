"""Connections to the file: the writer's, and those that only look."""

from __future__ import annotations

import sqlite3
from pathlib import Path

BUSY = 5.0  # seconds that another program (a backup, a shell) may keep the file locked
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
        connection.execute("PRAGMA secure_delete = FAST")  # no writes only to blank out what was delivered
    except BaseException:
        connection.close()
        raise
    return connection


def connect_readonly(path: Path) -> sqlite3.Connection:
    """Open the file to look at it, beside a writer or without one.

    Such a connection neither writes nor checkpoints, not on closing either: SQLite before 3.51.3 can corrupt the log
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

"""What the outbox raises.

StorageError and OutboxFull are those of engine/errors.py, which does not import sqlite3.

StorageError
└── NewerOutbox              the file was written by a later release, or by another program; it is left alone
BusStopped
└── OutboxClosed             used before open or after close
LifecycleError
├── OutboxLocked             another process, or another bus of this one, has it; `pid` says which
└── OutboxForked             used in a child process, after fork
NotInOutbox                  no such event or dead letter
"""

from __future__ import annotations

import sqlite3

from evbus_like.engine.errors import BusStopped, EvbusError, LifecycleError, OutboxFull, StorageError

__all__ = ["OutboxFull", "StorageError"]  # those that are the engine's

# What a file that was torn or written over answers; every other error is the disk's, or the rights', and may pass.
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_ERROR)
ADVICE = {
    sqlite3.SQLITE_FULL: "free some space on its disk; it works again as soon as there is room",
    sqlite3.SQLITE_READONLY: "make the file, its folder and its disk writable for this user",
    sqlite3.SQLITE_CANTOPEN: "check that its folder exists and that this user may write there",
    sqlite3.SQLITE_BUSY: "another program keeps the file locked: end it",
    sqlite3.SQLITE_CORRUPT: "start the bus again: it moves the file aside and recovers what can be read",
    sqlite3.SQLITE_NOTADB: "start the bus again: it moves the file aside and recovers what can be read",
}


class NewerOutbox(StorageError):
    """The file was written by a later release, or belongs to another program; it is left as it is."""


class OutboxClosed(BusStopped):
    """The outbox is not open."""


class OutboxLocked(LifecycleError):
    """Somebody else has the outbox open; `pid` is the process, or None where the lock file does not say."""

    def __init__(self, message: str, pid: int | None) -> None:
        super().__init__(message)
        self.pid = pid


class OutboxForked(LifecycleError):
    """The outbox belongs to the parent process; a child must open one of its own."""


class NotInOutbox(EvbusError, LookupError):
    """There is no such pending event or dead letter."""


def primary_code(error: BaseException) -> int | None:
    """Give SQLite's code of an error, without its details."""
    code = getattr(error, "sqlite_errorcode", None)
    return code & 0xFF if isinstance(code, int) else None


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file itself is bad, rather than the disk or the rights."""
    return primary_code(error) in DAMAGED


def is_storage(error: BaseException) -> bool:
    """Whether the next transaction would fail of the same cause, whatever it holds."""
    if isinstance(error, sqlite3.OperationalError | OSError):
        return True
    return isinstance(error, sqlite3.DatabaseError) and primary_code(error) in DAMAGED


def is_suspect(error: BaseException) -> bool:
    """Whether a connection that raised this should be made anew."""
    passing = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    return is_storage(error) and primary_code(error) not in passing


def storage_error(path: str, error: BaseException, doing: str = "written") -> StorageError:
    """Make the error that users read: what happened, where, and what to do."""
    advice = ADVICE.get(primary_code(error) or 0, "check the disk and the rights on the file and its folder")
    found = StorageError(f"the outbox {path} cannot be {doing}: {error}; {advice}")
    found.__cause__ = error
    return found

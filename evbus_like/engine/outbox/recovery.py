"""Recovery: a damaged file is moved aside, and what can be read of it is copied to a new one.

The new file is built beside the old one and replaces it at the end, so that a crash in between loses nothing: a new
file without an old one beside it is complete and only has to be renamed.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from evbus_like.engine.errors import NewerOutbox
from evbus_like.engine.files import read_own, sync_folder
from evbus_like.engine.outbox.connection import connect_readonly, is_damage
from evbus_like.engine.outbox.files import companion, create_own, move_aside
from evbus_like.engine.outbox.lock import Lock, Past
from evbus_like.engine.outbox.salvage import Salvaged, salvage
from evbus_like.engine.outbox.schema import impossible_rows, version_of
from evbus_like.engine.outbox.wal import PAGE, Log, read_index, read_log

NEW = ".recovering"
LOG = ("-wal", "-shm")
INDEX = 32768  # bytes: the least length of an index


@dataclass(frozen=True)
class Recovered:
    """The result of a recovery: where the damaged file is, what was wrong, and how much could be read.

    `moved_to` is None where there was no file any more. `again` counts events whose deliveries are unknown: they are
    sent to all their destinations again. `damaged` counts events and dead letters with a wrong checksum, and `unread`
    bytes in which there is nothing readable, or which are missing.
    """

    moved_to: Path | None
    reason: str
    events: int = 0
    dead: int = 0
    again: int = 0
    damaged: int = 0
    unread: int = 0

    def __str__(self) -> str:
        if self.moved_to is None:
            return f"the outbox may have lost events: {self.reason}"
        again = f" ({self.again} of the events are sent to all their destinations again)" if self.again else ""
        lost = [f"{self.damaged} are damaged"] if self.damaged else []
        lost += [f"{self.unread} bytes cannot be read or are missing"] if self.unread else []
        return (
            f"the outbox was damaged ({self.reason}) and was moved to {self.moved_to};"
            f" {self.events} events and {self.dead} dead letters were recovered from it{again}"
            f"{''.join(f', {each}' for each in lost)}."
            " Events that were delivered lately may be sent again. Delete it when you no longer need it"
        )


def recover(path: Path, lock: Lock) -> Recovered | None:
    """Make sure that there is a sound file at `path`, perhaps an empty one; the lock must be held.

    Raises NewerOutbox for a file of another program or release, StorageError, OSError and sqlite3.Error.
    """
    new, wal = companion(path, NEW), companion(path, "-wal")
    if os.path.lexists(new):
        if path.exists():
            new.unlink()
        else:  # a recovery that lacks only the rename
            if wal.exists():
                move_aside(path)
            _put_in_place(new, path, lock)
    lock.hold(path)
    lost = _lost(path, lock.past)
    first_page = read_own(path, PAGE) or b""
    index = read_index(companion(path, "-shm"))
    log = read_log(wal, index, first_page)
    if lock.past.open and index is None and _had_log(path):
        lost = f"the index of the log of {path} is damaged or missing: nobody can tell whether the log is complete"
    if not first_page and wal.exists():
        os.truncate(path, PAGE)  # all data may be in the log, which SQLite deletes if the file is empty
    reason = log.reason or _damage(path)
    if reason is None:
        return Recovered(None, lost) if lost else None
    found = _salvage(path, new, log)
    aside = move_aside(path)
    _put_in_place(new, path, lock)
    reason = "; ".join(filter(None, (reason, lost)))
    return Recovered(aside, reason, found.events, found.dead, found.again, found.damaged, found.unread)


def _lost(path: Path, past: Past) -> str | None:
    """Say what the last process left here and what is gone now, or give None."""
    if any(read_own(companion(path, suffix), 1) for suffix in ("", "-wal")):
        if past.open and not any(companion(path, suffix).exists() for suffix in ("-wal", "-shm")):
            return (
                f"process {past.pid} did not close {path}, and its log is missing: events that were only in it are lost"
            )
        return None
    if past.open:
        return f"{path} is missing or empty, though process {past.pid} had it open: all that it held is lost"
    if past.events or past.dead:
        return f"{path} is missing or empty: {past.events} events and {past.dead} dead letters that it held are lost"
    return None


def _had_log(path: Path) -> bool:
    """Whether a log may have been cut: its index is short, or not all zero as before the first write."""
    found = [read_own(companion(path, suffix), INDEX) for suffix in LOG]
    return any(any(each or b"") for each in found) or (found != [None, None] and len(found[1] or b"") < INDEX)


def _damage(path: Path) -> str | None:
    """Give what is wrong with a file, or None."""
    try:
        with closing(connect_readonly(path)) as connection:
            version = version_of(connection, str(path))
            found: str = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found == "ok" and version and (wrong := impossible_rows(connection, version)):
                found = f"{wrong} rows cannot have been written"
    except NewerOutbox:
        raise
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError) and not is_damage(error):
            raise
        return str(error)
    return None if found == "ok" else " ".join(found.split())


def _salvage(path: Path, new: Path, log: Log) -> Salvaged:
    create_own(new)
    try:
        return salvage(path, new, log)
    except BaseException:
        new.unlink()
        raise


def _put_in_place(new: Path, path: Path, lock: Lock) -> None:
    lock.hold(new)
    os.rename(new, path)
    sync_folder(path.parent)

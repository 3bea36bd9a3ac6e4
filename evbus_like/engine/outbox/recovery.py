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

from evbus_like.engine.errors import NewerOutbox, StorageError
from evbus_like.engine.outbox.connection import connect_readonly, is_damage
from evbus_like.engine.outbox.files import companion, create_private, move_aside, sync_folder
from evbus_like.engine.outbox.salvage import Salvaged, salvage
from evbus_like.engine.outbox.schema import version_of

PAGE = 4096  # bytes: SQLite's page size, and ours
NEW = ".recovering"


@dataclass(frozen=True)
class Recovered:
    """The result of a recovery: where the damaged file is, what was wrong, and how much could be read.

    `again` counts events whose deliveries are unknown: they are sent to all their destinations again.
    """

    moved_to: Path
    reason: str
    events: int
    dead: int
    again: int

    def __str__(self) -> str:
        again = f" ({self.again} of the events are sent to all their destinations again)" if self.again else ""
        return (
            f"the outbox was damaged ({self.reason}) and was moved to {self.moved_to};"
            f" {self.events} events and {self.dead} dead letters were recovered from it{again}."
            " Delete it when you no longer need it"
        )


def recover(path: Path) -> Recovered | None:
    """Make sure that there is a sound file at `path`, perhaps an empty one; the lock must be held.

    Raises NewerOutbox for a file of another program or release, StorageError, OSError and sqlite3.Error.
    """
    if path.is_dir():
        raise StorageError(f"the outbox {path} cannot be opened: it is a folder; give the path of a file in it")
    new, wal = companion(path, NEW), companion(path, "-wal")
    if new.exists():
        if path.exists():
            new.unlink()
        else:  # a recovery that lacks only the rename
            if wal.exists():
                move_aside(path)
            _put_in_place(new, path)
    create_private(path)
    if path.stat().st_size == 0 and wal.exists():
        os.truncate(path, PAGE)  # all data may be in the log, which SQLite deletes if the file is empty
    reason = _damage(path)
    if reason is None:
        return None
    new_file = _salvage(path, new)
    aside = move_aside(path)
    _put_in_place(new, path)
    return Recovered(aside, reason, new_file.events, new_file.dead, new_file.again)


def _damage(path: Path) -> str | None:
    """Give what is wrong with a file, or None."""
    try:
        with closing(connect_readonly(path)) as connection:
            version_of(connection, str(path))
            found: str = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except NewerOutbox:
        raise
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError) and not is_damage(error):
            raise
        return str(error)
    return None if found == "ok" else " ".join(found.split())


def _salvage(path: Path, new: Path) -> Salvaged:
    create_private(new)
    try:
        return salvage(path, new)
    except BaseException:
        new.unlink()
        raise


def _put_in_place(new: Path, path: Path) -> None:
    os.rename(new, path)
    sync_folder(path.parent)

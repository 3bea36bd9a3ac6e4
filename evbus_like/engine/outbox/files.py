"""The outbox's files: damaged ones are moved aside, never deleted; those of other programs are never touched."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from evbus_like.engine.errors import NewerOutbox, StorageError
from evbus_like.engine.files import check_folder, open_own, read_own, sync_folder
from evbus_like.engine.outbox.lock import lock_path
from evbus_like.engine.outbox.pages import table_names
from evbus_like.engine.outbox.schema import APPLICATION, CREATE
from evbus_like.engine.outbox.wal import PAGE

ASIDE = ("-wal", "-shm", "-journal")  # SQLite's companions of a database file
DATABASE = b"SQLite format 3\0"
APPLICATION_AT = 68  # where page 1 has the number of the program
ENOUGH = 1024 * 1024  # bytes in which the tables are described, wherever they are


def check_files(path: Path) -> None:
    """Raise an error for a path at which no outbox may be: nothing is touched then.

    UnsafeFile: something else than a file, or a file of another user; StorageError: a file that is no outbox.
    """
    check_folder(path.parent)
    for suffix in (*ASIDE, ".lock", ".recovering"):
        read_own(companion(path, suffix), 0)
    head = read_own(path, ENOUGH, several=True)
    if not head or head[APPLICATION_AT:][:4] == APPLICATION.to_bytes(4) or CREATE[1].encode() in head:
        return
    if lock_path(path).exists():
        return
    database = head.startswith(DATABASE) and len(head) >= PAGE
    tables = sorted(table_names(path)) if database else []
    if tables:
        raise NewerOutbox(
            f"{path} is an SQLite database of another program (tables {', '.join(tables[:5])});"
            " give the outbox a path of its own"
        )
    if not database:
        raise StorageError(
            f"{path} is not an outbox, nor a damaged one: it does not begin as one, and no outbox was ever open there"
            " (no lock file). It was left as it is; give the outbox a path of its own (outbox_path, EVBUS_OUTBOX)"
        )


def create_own(path: Path) -> None:
    """Make an empty file that only its user may read; raises FileExistsError if there is something of that name."""
    os.close(open_own(path, os.O_RDWR | os.O_CREAT | os.O_EXCL))


def companion(path: Path, suffix: str) -> Path:
    """Give the path with something appended to its name."""
    return path.with_name(path.name + suffix)


def move_aside(path: Path) -> Path:
    """Rename a database file and its companions to a name with the time, and give that name."""
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    aside = companion(path, f".corrupt-{now}")
    number = 1
    while any(os.path.lexists(companion(aside, suffix)) for suffix in ("", *ASIDE)):
        number += 1
        aside = companion(path, f".corrupt-{now}-{number}")
    for suffix in ("", *ASIDE):
        if companion(path, suffix).exists():
            os.rename(companion(path, suffix), companion(aside, suffix))
    sync_folder(path.parent)
    return aside

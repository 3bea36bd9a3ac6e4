"""The outbox's files: private to their user; damaged ones are moved aside, never deleted."""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime
from pathlib import Path

ASIDE = ("-wal", "-shm")  # SQLite's companions of a database file


def make_private(folder: Path) -> None:
    """Make a folder and its missing parents for this user alone; existing folders keep their permissions."""
    for each in [*reversed(folder.parents), folder]:
        if not each.exists():
            each.mkdir(0o700, exist_ok=True)


def create_private(path: Path) -> None:
    """Make an empty file that only its user may read, or remove the permissions of others from an existing one."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if stat.S_IMODE(os.fstat(file).st_mode) & 0o077:
            os.fchmod(file, 0o600)
    finally:
        os.close(file)


def companion(path: Path, suffix: str) -> Path:
    """Give the path with something appended to its name."""
    return path.with_name(path.name + suffix)


def move_aside(path: Path) -> Path:
    """Rename a database file and its companions to a name with the time, and give that name."""
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    aside = companion(path, f".corrupt-{now}")
    number = 1
    while any(companion(aside, suffix).exists() for suffix in ("", *ASIDE)):
        number += 1
        aside = companion(path, f".corrupt-{now}-{number}")
    for suffix in ("", *ASIDE):
        if companion(path, suffix).exists():
            os.rename(companion(path, suffix), companion(aside, suffix))
    sync_folder(path.parent)
    return aside


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable."""
    file = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)

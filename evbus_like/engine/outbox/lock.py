"""The lock: one process at a time has an outbox, and anybody can read which.

The kernel releases it (flock) when the process ends, however it ends; the file stays and holds the last pid.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path
from weakref import WeakSet

from evbus_like.engine.errors import OutboxLocked

PATIENCE = 0.25  # seconds: `holder` takes the lock for a moment, and an old process may still be ending


class Lock:
    """The lock of one outbox; `forked` is True in a forked child, which does not hold it."""

    def __init__(self, path: Path) -> None:
        self.path = lock_path(path)
        self.forked = False
        self._file: int | None = None

    def take(self) -> None:
        """Take the lock; raises OutboxLocked with the holder's pid, and OSError."""
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            deadline = time.monotonic() + PATIENCE
            while not _try(file, fcntl.LOCK_EX):
                if time.monotonic() > deadline:
                    raise _locked(self.path, _read_pid(file))
                time.sleep(0.01)
            os.ftruncate(file, 0)
            os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        except BaseException:
            os.close(file)
            raise
        self._file = file
        _held.add(self)

    def release(self) -> None:
        """Release the lock if it is held."""
        file, self._file = self._file, None
        _held.discard(self)
        if file is not None:
            with suppress(OSError):  # a full disk: the pid stays, but means nothing without the lock
                os.ftruncate(file, 0)
            os.close(file)

    def disown(self) -> None:
        """Close the file in a forked child, so that the lock ends with the parent."""
        self.forked = True
        file, self._file = self._file, None
        if file is not None:
            os.close(file)


def lock_path(path: Path) -> Path:
    """Give the path of an outbox's lock file."""
    return path.with_name(path.name + ".lock")


def holder(path: Path) -> int | None:
    """Give the pid of the process that has the outbox open, 0 if it does not say, or None if nobody has."""
    try:
        file = os.open(lock_path(path), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return None if _try(file, fcntl.LOCK_SH) else _read_pid(file) or 0
    finally:
        os.close(file)


def _try(file: int, how: int) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read_pid(file: int) -> int | None:
    try:
        return int(os.pread(file, 32, 0))
    except ValueError:
        return None


def _locked(path: Path, pid: int | None) -> OutboxLocked:
    if pid == os.getpid():
        who, what = f"this process ({pid})", "use the one that is open, or close it first"
    else:
        who, what = f"process {pid or 'unknown'}", "stop that process, or give each its own outbox path"
    return OutboxLocked(f"the outbox {path.with_suffix('')} is in use by {who}; {what}", pid)


_held: WeakSet[Lock] = WeakSet()


def _disown_all() -> None:
    for lock in list(_held):
        lock.disown()


os.register_at_fork(after_in_child=_disown_all)

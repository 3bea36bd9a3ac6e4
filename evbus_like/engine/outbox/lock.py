"""The lock: one process at a time has an outbox, and anybody can read which.

Two files are locked (flock), and the kernel releases both when the process ends, however it ends. The lock file holds
the pid, and how the last process left the outbox. The database itself is locked too where that does not disturb
SQLite's own locks (Linux): so the lock belongs to the file under all its names, and outlives a lock file that was
removed. SQLite's locks end when this process closes any descriptor of the database: it is not opened here while it is
in use.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakSet

from evbus_like.engine.errors import OutboxLocked
from evbus_like.engine.files import ANY, check_names, open_own, take_from_others

PATIENCE = 0.25  # seconds: `holder` takes the lock for a moment, and an old process may still be ending
LOCKS = Path("/proc/locks")
Identity = tuple[int, int]  # device and inode


@dataclass(frozen=True)
class Past:
    """How the last process left an outbox: still open, or closed with so many events and dead letters."""

    pid: int | None = None
    open: bool = False
    events: int = 0
    dead: int = 0


class Lock:
    """The lock of one outbox; `forked` is True in a forked child, which does not hold it."""

    def __init__(self, path: Path) -> None:
        self.path = lock_path(path)
        self.forked = False
        self.past = Past()
        self.identity: Identity | None = None  # of the database
        self._outbox = path
        self._file: int | None = None
        self._database: int | None = None
        self._left = b""  # what the last process wrote

    def take(self) -> None:
        """Take the lock; raises OutboxLocked with the holder's pid, and OSError."""
        deadline = time.monotonic() + PATIENCE
        while True:
            file = open_own(self.path, os.O_RDWR | os.O_CREAT)
            try:
                while not _try(file, fcntl.LOCK_EX):
                    if time.monotonic() > deadline:
                        raise _locked(self._outbox, _read_pid(file))
                    time.sleep(0.01)
                if identity_of(self.path) != _identity(os.fstat(file)):
                    os.close(file)
                    continue  # it was removed meanwhile
                take_from_others(file)
                self._left = os.pread(file, 100, 0)
                _write(file, f"{os.getpid()}\n")
            except BaseException:
                os.close(file)
                raise
            break
        self.past = _past(self._left)
        self._file = file
        _held.add(self)

    def hold(self, database: Path) -> None:
        """Lock the database, which is made if it is missing, instead of the one before; raises as `take` does."""
        if self.identity is not None and self.identity == identity_of(database):
            return
        refuse_if_open_here(database)
        file = open_own(database, os.O_RDWR | os.O_CREAT, ANY)
        try:
            if sys.platform == "linux" and not _try(file, fcntl.LOCK_EX):
                raise _locked(self._outbox, _pid_in_proc(_identity(os.fstat(file))))
            check_names(database, file)
        except BaseException:
            os.close(file)
            raise
        self._close_database()
        self._database, self.identity = file, _identity(os.fstat(file))

    def mark_open(self) -> None:
        """Record that there is an outbox now, which an orderly end closes."""
        if self._file is not None and self._database is not None:
            take_from_others(self._database)
            _write(self._file, f"{os.getpid()}\nopen\n")
            self._left = b""

    def release(self, events: int = 0, dead: int = 0) -> None:
        """Release the lock if it is held, and record what the outbox holds."""
        file, self._file = self._file, None
        _held.discard(self)
        self._close_database()
        if file is not None:
            with suppress(OSError):  # a full disk: the pid stays, but means nothing without the lock
                _write(file, self._left.decode(errors="replace") or f"0\nclosed {events} {dead}\n")
            os.close(file)

    def disown(self) -> None:
        """Close the files in a forked child, so that the lock ends with the parent."""
        self.forked = True
        file, self._file = self._file, None
        self._close_database()
        if file is not None:
            os.close(file)

    def _close_database(self) -> None:
        file, self._database, self.identity = self._database, None, None
        if file is not None:
            os.close(file)


def lock_path(path: Path) -> Path:
    """Give the path of an outbox's lock file."""
    return path.with_name(path.name + ".lock")


def holder(path: Path) -> int | None:
    """Give the pid of the process that has the outbox open, 0 if it does not say, or None if nobody has."""
    with suppress(FileNotFoundError):
        file = open_own(lock_path(path))
        try:
            if not _try(file, fcntl.LOCK_SH):
                return _read_pid(file) or 0
        finally:
            os.close(file)
    identity = identity_of(path)
    return _pid_in_proc(identity) if identity else None


@contextmanager
def kept_closed(path: Path) -> Iterator[bool]:
    """Keep every process from opening the outbox, for a moment; gives whether none has it open."""
    try:
        file = open_own(lock_path(path))
    except OSError:  # it was never open, or we may not know
        yield False
        return
    try:
        yield _try(file, fcntl.LOCK_SH) and holder(path) is None
    finally:
        os.close(file)


def refuse_if_open_here(database: Path) -> None:
    """Raise OutboxLocked if this process has the file open, under any name."""
    identity = identity_of(database)
    if identity is not None and any(lock.identity == identity for lock in list(_held)):
        raise _locked(database, os.getpid())


def identity_of(path: Path) -> Identity | None:
    """Give device and inode of a file, None if it is not there."""
    try:
        return _identity(os.lstat(path))
    except (FileNotFoundError, NotADirectoryError):
        return None


def _identity(found: os.stat_result) -> Identity:
    return found.st_dev, found.st_ino


def _try(file: int, how: int) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write(file: int, text: str) -> None:
    os.ftruncate(file, 0)
    os.pwrite(file, text.encode(), 0)


def _read_pid(file: int) -> int | None:
    try:
        return int(os.pread(file, 32, 0).split(b"\n")[0])
    except ValueError:
        return None


def _past(text: bytes) -> Past:
    try:
        pid, *rest = text.split()
        if rest[:1] == [b"closed"]:
            return Past(int(pid), False, int(rest[1]), int(rest[2]))
        return Past(int(pid), rest[:1] == [b"open"])
    except (ValueError, IndexError):
        return Past()


def _pid_in_proc(identity: Identity) -> int | None:
    """Find the process that has locked a file, where the kernel lists it."""
    device, inode = identity
    with suppress(OSError, ValueError):
        for line in LOCKS.read_text().splitlines():
            fields = line.split()
            if fields[1] == "FLOCK" and fields[3] == "WRITE" and fields[5].endswith(f":{inode}"):
                major, minor = (int(each, 16) for each in fields[5].split(":")[:2])
                if os.makedev(major, minor) == device:
                    return int(fields[4])
    return None


def _locked(path: Path, pid: int | None) -> OutboxLocked:
    if pid == os.getpid():
        who, what = f"this process ({pid})", "use the one that is open, or close it first"
    else:
        who, what = f"process {pid or 'unknown'}", "stop that process, or give each its own outbox path"
    return OutboxLocked(f"the outbox {path} is in use by {who}; {what} (setting outbox_path, EVBUS_OUTBOX)", pid)


_held: WeakSet[Lock] = WeakSet()


def _disown_all() -> None:
    for lock in list(_held):
        lock.disown()


os.register_at_fork(after_in_child=_disown_all)

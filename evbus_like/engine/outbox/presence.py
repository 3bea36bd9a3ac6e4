"""Presence: whether the files of an open outbox are still where they were.

What is written into a file that was removed, moved or exchanged is gone with this process, and SQLite does not notice.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from evbus_like.engine.outbox.lock import Identity, Lock

OWNER = stat.S_IRUSR | stat.S_IWUSR
BACK = "put it back, or start the bus again, which makes a new one"
AGAIN = "what it held is written into the file when the next event is put"


class FileGone(OSError):
    """A file of the outbox is no longer in its place; nothing must be written."""


class Presence:
    """Compares the database and its log with those that were opened; two calls of the system, 3 microseconds."""

    def __init__(self, path: Path, lock: Lock) -> None:
        self._path = str(path)
        self._wal = f"{path}-wal"
        self._lock = lock
        self._log: Identity | None = None

    def forget_log(self) -> None:
        """Expect another log, because the file is opened again."""
        self._log = None

    def check(self, log: bool = True) -> None:
        """Raise FileGone, which says what to do; `log` says whether to look for the log, too."""
        found = self._find(self._path)
        if (found.st_dev, found.st_ino) != self._lock.identity:
            raise FileGone(f"the file was replaced by another; {BACK}")
        if found.st_mode & OWNER != OWNER:
            raise FileGone(f"its permissions were taken away (mode {stat.S_IMODE(found.st_mode):o}); chmod it to 600")
        if log:
            self._check_log()

    def _check_log(self) -> None:
        try:
            found = os.lstat(self._wal)
        except FileNotFoundError:
            if self._log is not None:
                raise FileGone(f"its log, {self._wal}, was removed; {AGAIN}") from None
            return
        except OSError as error:
            raise FileGone(f"its log cannot be reached: {error}; {BACK}") from None
        if self._log is None:
            self._log = found.st_dev, found.st_ino
        elif self._log != (found.st_dev, found.st_ino):
            raise FileGone(f"its log, {self._wal}, was replaced by another; {AGAIN}")

    @staticmethod
    def _find(path: str) -> os.stat_result:
        try:
            return os.lstat(path)
        except FileNotFoundError:
            raise FileGone(f"the file, or its folder, was removed or moved; {BACK}") from None
        except OSError as error:
            raise FileGone(f"the file cannot be reached: {error}; {BACK}") from None

"""Keeps repeated trouble to a few lines a minute, and says how often it came."""

from __future__ import annotations

import atexit
import logging
import threading
import time
from dataclasses import dataclass

OURS = "evbus_like."
FEW = 10  # lines of one kind a minute
MINUTE = 60.0
MOST = 1000  # kinds that are known at a time
PASSED = "evbus_passed"  # the decision, on the record: all handlers of a process make the same one


@dataclass
class Kind:
    """Lines of one message about one thing: since when they are counted, and how many were left out."""

    since: float
    level: int
    logger: str
    latest: str = ""
    count: int = 1
    left_out: int = 0


class Repeats(logging.Filter):
    """Passes the first ten lines of a kind in a minute; how many came beyond is one line, once a minute.

    A kind is a message of the bus about one handler or destination, whatever else it says. It looks at warnings and
    errors alone, of the bus alone.
    """

    def __init__(self) -> None:
        super().__init__()
        self._kinds: dict[tuple[str, str, str], Kind] = {}
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        atexit.register(self.tell, float("inf"))

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to log a record."""
        decided: bool | None = record.__dict__.get(PASSED)
        if decided is None:
            self.tell(record.created - MINUTE if len(self._kinds) < MOST else float("inf"))
            decided = record.__dict__[PASSED] = self._passes(record)
        return decided

    def _passes(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith(OURS) or record.levelno < logging.WARNING:
            return True
        key = (record.name, str(record.msg), _about(record))
        with self._lock:
            kind = self._kinds.get(key)
            if kind is None:
                if len(self._kinds) >= MOST:
                    self._kinds.clear()
                self._kinds[key] = Kind(record.created, record.levelno, record.name)
                return True
            kind.count += 1
            if kind.count <= FEW:
                return True
            kind.left_out += 1
            kind.latest = record.getMessage()
            self._start_timer()
            return False

    def _due(self) -> None:
        """Log what was left out of kinds of which no other line came."""
        with self._lock:
            self._timer = None
        self.tell(time.time() - MINUTE / 2)
        with self._lock:
            if any(kind.left_out for kind in self._kinds.values()):
                self._start_timer()

    def _start_timer(self) -> None:
        if self._timer is None:
            self._timer = threading.Timer(MINUTE, self._due)
            self._timer.daemon = True
            self._timer.start()

    def tell(self, before: float) -> None:
        """Log how many lines were left out of the kinds that began before a time, and count these anew."""
        with self._lock:
            old = {key: kind for key, kind in self._kinds.items() if kind.since <= before}
            for key in old:
                del self._kinds[key]
        for kind in old.values():
            if kind.left_out:
                log = logging.getLogger(kind.logger)
                log.log(
                    kind.level, "%d more lines like this within a minute; the latest: %s", kind.left_out, kind.latest
                )


def _about(record: logging.LogRecord) -> str:
    """Return what a line is about: a destination, a handler, or else the first thing that it names."""
    named = record.__dict__.get("destination") or record.__dict__.get("handler")
    return str(named or (record.args[0] if isinstance(record.args, tuple) and record.args else ""))

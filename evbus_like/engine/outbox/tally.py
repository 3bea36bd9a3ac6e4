"""The tally: how much the outbox holds, kept up to date without asking the file."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from threading import Lock

from evbus_like.engine.errors import EventTooLarge
from evbus_like.engine.loops import CrossLoopCondition
from evbus_like.engine.outbox.errors import OutboxFull


@dataclass(frozen=True)
class Counts:
    """How much an outbox holds: bytes of events and dead letters, events by destination, dead letters."""

    bytes: int
    max_bytes: int
    pending: dict[str, int]
    dead: int

    @property
    def full(self) -> bool:
        """Whether not even the smallest event fits."""
        return self.bytes >= self.max_bytes


class Change:
    """What one transaction changes, once it is committed; the bytes of new events were counted before."""

    def __init__(self) -> None:
        self.bytes = 0
        self.pending: defaultdict[str, int] = defaultdict(int)  # a Counter takes five times as long to make
        self.dead = 0


class OutboxUsage:
    """Counts what is in the file and, in bytes, what is on its way there; any thread may ask."""

    def __init__(self, max_bytes: int, path: str) -> None:
        self.max_bytes = max_bytes
        self.path = path
        self.bytes = 0
        self.dead = 0
        self.pending: Counter[str] = Counter()
        self.room = CrossLoopCondition()
        self.refusing = False  # whether the last event that came had no room, and nothing has left since
        self._lock = Lock()

    def reserve(self, size: int) -> None:
        """Count bytes that are about to be written; raises OutboxFull, or EventTooLarge for what never fits."""
        with self._lock:
            if self.bytes + size <= self.max_bytes:
                self.bytes += size
                return
            self.refusing = size <= self.max_bytes
        self._check(size)
        raise OutboxFull(
            f"the outbox {self.path} is full: {self.bytes} of {self.max_bytes} bytes, {self.pending.total()} events"
            f" wait and {self.dead} dead letters are kept; see why their destinations do not take them, replay or purge"
            " dead letters, or raise its max_bytes",
            size,
        )

    def fits(self, size: int) -> bool:
        """Whether `reserve` would succeed now; raises EventTooLarge where it never would."""
        self._check(size)
        return self.bytes + size <= self.max_bytes

    def free(self, size: int) -> None:
        """Give back bytes that were reserved and not written."""
        with self._lock:
            self.bytes -= size
            self.refusing = False
        self.room.wake_all()

    def apply(self, change: Change) -> None:
        """Count what was committed."""
        with self._lock:
            self.bytes += change.bytes
            self.refusing = self.refusing and change.bytes >= 0
            self.dead += change.dead
            for name, count in change.pending.items():
                self.pending[name] += count
                if not self.pending[name]:
                    del self.pending[name]
        if change.bytes < 0:
            self.room.wake_all()

    def counts(self) -> Counts:
        """Give the counts as they stand."""
        with self._lock:
            return Counts(self.bytes, self.max_bytes, dict(self.pending), self.dead)

    def _check(self, size: int) -> None:
        if size > self.max_bytes:
            raise EventTooLarge(
                f"{size} bytes never fit into the outbox {self.path}, which holds at most {self.max_bytes}:"
                " send less, or raise its max_bytes"
            )

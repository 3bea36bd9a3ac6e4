"""Look into an outbox from outside, while the bus runs in another process or while none does.

Nothing here writes or checkpoints (see `connect_readonly`). SQLite's log grows while somebody reads, so keep it short.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from evbus_like.engine.errors import StorageError
from evbus_like.engine.files import kind_of, open_own, read_own, resolve
from evbus_like.engine.outbox.connection import connect_readonly, storage_error
from evbus_like.engine.outbox.dead_letters import DeadFilter, DeadLetter, read_dead_letter, read_dead_letters
from evbus_like.engine.outbox.lock import holder, kept_closed
from evbus_like.engine.outbox.scheduled import ScheduledEvent, read_scheduled
from evbus_like.engine.outbox.schema import version_of
from evbus_like.engine.outbox.usage import HAS_SCHEDULED, measure
from evbus_like.engine.outbox.wal import read_index


def dead_letters(
    path: str | os.PathLike[str], wanted: DeadFilter | None = None, limit: int = 100, after: int = 0
) -> list[DeadLetter]:
    """List dead letters by number, without their bodies."""
    with _reading(path) as (connection, _):
        return read_dead_letters(connection, wanted or DeadFilter(), after, limit)


def dead_letter(path: str | os.PathLike[str], number: int) -> DeadLetter | None:
    """Give one dead letter with its body."""
    with _reading(path) as (connection, _):
        return read_dead_letter(connection, number)


def scheduled(path: str | os.PathLike[str], limit: int = 100) -> list[ScheduledEvent]:
    """List the events that are sent later, those first that are due next."""
    with _reading(path) as (connection, _):
        return read_scheduled(connection, limit) if connection.execute(HAS_SCHEDULED).fetchone() else []


def holds(path: str | os.PathLike[str], event_id: str) -> bool:
    """Say whether an event of this id is to be sent later."""
    with _reading(path) as (connection, _):
        if not connection.execute(HAS_SCHEDULED).fetchone():
            return False
        return connection.execute("SELECT 1 FROM scheduled WHERE id = ? LIMIT 1", (event_id,)).fetchone() is not None


@contextmanager
def _reading(path: str | os.PathLike[str]) -> Iterator[tuple[sqlite3.Connection, Path]]:
    real = resolve(path)
    if real.is_symlink() or (real.exists() and not real.is_file()):
        raise StorageError(f"{real} is {kind_of(os.lstat(real).st_mode)}, not an outbox; give the path of the file")
    if not real.is_file() or not real.stat().st_size:
        raise StorageError(f"there is no outbox at {real}; it is made when a bus with a durable profile starts")
    try:
        with _index_kept(real), closing(connect_readonly(real)) as connection:
            version_of(connection, str(real))
            connection.execute("BEGIN")  # one snapshot, while the bus goes on writing
            yield connection, real
    except (sqlite3.Error, OSError) as error:
        raise storage_error(str(real), error, "read") from error


@contextmanager
def _index_kept(path: Path) -> Iterator[None]:
    """Keep what a killed process left in the index of its log for the next start: see wal.py.

    SQLite makes the index anew when it opens the file. The old one is put back only where the log is damaged.
    """
    shm = path.with_name(f"{path.name}-shm")
    with kept_closed(path) as free:
        before = read_own(shm) if free else None
        known = read_index(shm) if before else None
        yield
        if before and known is not None and read_index(shm) != known:
            with open(open_own(shm, os.O_RDWR), "r+b") as file:
                file.write(before)


GIVEN_UP = "SELECT destination, count(*) FROM dead GROUP BY destination"


@dataclass
class Share:
    """One destination's share of an outbox.

    `bytes` counts whole segments in which an event waits; `oldest` is when the first event in them was put.
    """

    destination: str
    waiting: int = 0
    bytes: int = 0
    oldest: float | None = None
    dead: int = 0


@dataclass(frozen=True)
class Summary:
    """An outbox and its destinations by name; `file_bytes` includes SQLite's log.

    `scheduled` events are not due yet, the first of them until `first_due`, in seconds since 1970. `holder` is the pid
    of the process that has it open, 0 if that is unknown, None if no process has.
    """

    path: Path
    holder: int | None
    file_bytes: int
    shares: list[Share]
    scheduled: int = 0
    first_due: float | None = None

    @property
    def waiting(self) -> dict[str, int]:
        """How many events wait, by destination."""
        return {share.destination: share.waiting for share in self.shares if share.waiting}

    @property
    def dead(self) -> int:
        """How many dead letters there are."""
        return sum(share.dead for share in self.shares)


def summarize(path: str | os.PathLike[str]) -> Summary:
    """Summarize an outbox, beside a running bus or without one; raises StorageError if it is missing or unreadable.

    It does not read bodies: 200,000 events take 0.07 s.
    """
    shares: dict[str, Share] = {}
    with _reading(path) as (connection, real):
        found = measure(connection)
        for name, its in found.waiting.items():
            shares[name] = Share(name, its.events, its.bytes, its.oldest)
        for name, dead in connection.execute(GIVEN_UP):
            shares.setdefault(name, Share(name)).dead = dead
        files = (real, real.with_name(f"{real.name}-wal"))
        size = sum(file.stat().st_size for file in files if file.exists())
        sorted_shares = [shares[name] for name in sorted(shares)]
        return Summary(real, holder(real), size, sorted_shares, found.scheduled, found.first_due)

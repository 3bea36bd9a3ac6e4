"""Looking into an outbox from outside, while the bus runs in another process or while none does.

Nothing here writes or checkpoints; see `connect_readonly`. A look is short: the log grows as long as somebody reads.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from evbus_like.engine.event import Event
from evbus_like.engine.outbox import dead
from evbus_like.engine.outbox.connection import connect_readonly
from evbus_like.engine.outbox.contents import measure
from evbus_like.engine.outbox.dead import DeadFilter, DeadLetter
from evbus_like.engine.outbox.errors import StorageError, storage_error
from evbus_like.engine.outbox.lock import holder
from evbus_like.engine.outbox.page import read_page
from evbus_like.engine.outbox.routes import read_routes
from evbus_like.engine.outbox.schema import version_of


@dataclass(frozen=True)
class Overview:
    """An outbox at a glance: `holder` is the pid of who has it open, 0 if that is unknown, None if nobody has."""

    path: Path
    holder: int | None
    bytes: int
    pending: dict[str, int]
    dead: int


def look(path: str | os.PathLike[str]) -> Overview:
    """Give the overview; raises StorageError where there is no outbox that could be read."""
    with _reading(path) as (connection, real):
        contents = measure(connection)
        return Overview(real, holder(real), contents.bytes, dict(contents.pending), contents.dead)


def pending(
    path: str | os.PathLike[str], destination: str, after_seq: int = 0, limit: int = 100
) -> list[tuple[int, Event]]:
    """List the oldest events that wait for a destination."""
    with _reading(path) as (connection, _):
        routes = read_routes(connection).of(destination)
        return read_page(connection, routes, destination, after_seq, limit, 64 * 1024 * 1024)[0]


def dead_letters(
    path: str | os.PathLike[str], wanted: DeadFilter | None = None, limit: int = 100, after: int = 0
) -> list[DeadLetter]:
    """List dead letters by number, without their bodies."""
    with _reading(path) as (connection, _):
        return dead.read(connection, wanted or DeadFilter(), after, limit)


def dead_letter(path: str | os.PathLike[str], number: int) -> DeadLetter | None:
    """Give one dead letter with its body."""
    with _reading(path) as (connection, _):
        return dead.read_one(connection, number)


@contextmanager
def _reading(path: str | os.PathLike[str]) -> Iterator[tuple[sqlite3.Connection, Path]]:
    real = Path(os.path.realpath(Path(path).expanduser()))
    if not real.is_file() or not real.stat().st_size:
        raise StorageError(f"there is no outbox at {real}; it is made when a bus with a durable profile starts")
    try:
        with closing(connect_readonly(real)) as connection:
            version_of(connection, str(real))
            connection.execute("BEGIN")  # one state of the file, though the bus goes on writing
            yield connection, real
    except (sqlite3.Error, OSError) as error:
        raise storage_error(str(real), error, "read") from error

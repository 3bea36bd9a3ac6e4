"""The store: what is done to the file, in plain calls, on one connection and in one thread.

Each statement lets go of Python's interpreter lock and has to win it back, from a loop that may be busy: so rows go in
and out many to a statement.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from evbus_like.engine.outbox.record import COLUMNS, Row
from evbus_like.engine.outbox.schema import EVENT, prepare
from evbus_like.engine.outbox.tally import Change, Tally

Parcel = tuple[Row, tuple[str, ...]]  # a row and the names of its destinations
Route = tuple[tuple[int, ...], str]  # the numbers of destinations, and their names as JSON
CHUNKS = (64, 8, 1)  # rows to a statement: few statements, few of them to prepare
ROUTES = 10_000  # sets of destinations remembered
FEW_VARIABLES = 999  # what SQLite before 3.32 allows in a statement


class Store:
    """Appends, settles and reads inside transactions; `begin` and `commit` or `rollback` are the caller's.

    What the tally counts changes with the commit. After an error of the disk the connection is made anew.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection], path: str, tally: Tally) -> None:
        self.path = path
        self.tally = tally
        self.change = Change()
        self.next_seq = 1
        self._connect = connect
        self._broken = False
        self._ids: dict[str, int] = {}
        self._routes: dict[tuple[str, ...], Route] = {}
        self.connection = connect()
        try:
            prepare(self.connection, path)
            self._load()
            self._count()
        except BaseException:
            self.connection.close()
            raise

    # ---- transactions

    def begin(self) -> None:
        """Begin a transaction."""
        if self._broken:
            with suppress(sqlite3.Error):
                self.connection.close()
            self.connection = self._connect()
            self._broken = False
            self._load()
        self.connection.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Make it durable."""
        self.connection.execute("COMMIT")
        change, self.change = self.change, Change()
        self.tally.apply(change)

    def rollback(self, suspect: bool) -> None:
        """Undo it; `suspect` says that the connection is not to be trusted any more."""
        self.change = Change()
        self._broken = self._broken or suspect
        try:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            if not self._broken:
                self._load()
        except sqlite3.Error:
            self._broken = True

    def close(self) -> None:
        """Close the file, its log written back into it."""
        with suppress(sqlite3.Error):
            self.connection.execute("PRAGMA busy_timeout = 0")  # somebody who reads is no reason to wait
            self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with suppress(sqlite3.Error):
            self.connection.close()

    # ---- events

    def append(self, parcels: Sequence[Parcel]) -> None:
        """Write events, the first as `next_seq` and the others after it."""
        if not parcels:
            return
        events: list[Any] = []
        pending: list[Any] = []
        for seq, (row, names) in enumerate(parcels, self.next_seq):
            ids, text = self._routes.get(names) or self._route(names)
            events += (seq, text)
            events += row
            if len(ids) == 1:
                pending += (ids[0], seq, 0)
            else:
                for id_ in ids:
                    pending += (id_, seq, 1)
        self.next_seq += len(parcels)
        for names, count in Counter(names for _, names in parcels).items():
            for name in names:
                self.change.pending[name] += count
        self._insert(f"events (seq, destinations, {EVENT})", 2 + len(COLUMNS), events, len(parcels))
        self._insert("pending (destination, seq, shared)", 3, pending, len(pending) // 3)

    def settle(self, destination: str, seqs: Sequence[int]) -> None:
        """Take events off a destination's list, and those that no other waits for out of the file."""
        id_ = self._ids.get(destination)
        if id_ is None:
            return
        execute = self.connection.execute
        for condition, values in conditions("seq", seqs):
            listed = f"SELECT seq FROM pending WHERE destination = ? AND {condition}"
            done = (
                f"FROM events WHERE seq IN ({listed}) AND NOT EXISTS (SELECT 1 FROM pending AS other"
                " WHERE other.seq = events.seq AND other.shared AND other.destination <> ?)"
            )
            freed = execute(f"SELECT coalesce(sum(size), 0) {done}", (id_, *values, id_)).fetchone()[0]
            execute(f"DELETE {done}", (id_, *values, id_))
            settled = execute(f"DELETE FROM pending WHERE destination = ? AND {condition}", (id_, *values)).rowcount
            self.change.bytes -= freed
            self.change.pending[destination] -= settled

    # ---- within

    def number_of(self, destination: str) -> int | None:
        """Give a destination's number, None for one that never had an event."""
        return self._ids.get(destination)

    def destination(self, name: str) -> int:
        """Give a destination's number, making one for a new name."""
        id_ = self._ids.get(name)
        if id_ is None:
            id_ = self.connection.execute("INSERT INTO destinations (name) VALUES (?)", (name,)).lastrowid
            assert id_ is not None
            self._ids[name] = id_
        return id_

    def _route(self, names: tuple[str, ...]) -> Route:
        if len(self._routes) >= ROUTES:
            self._routes.clear()
        route = self._routes[names] = tuple(self.destination(name) for name in names), json.dumps(names)
        return route

    def _insert(self, table: str, width: int, values: list[Any], rows: int) -> None:
        marks = f"({', '.join('?' * width)})"
        start = 0
        for size in CHUNKS:
            if size * width > FEW_VARIABLES:
                continue
            statement = f"INSERT INTO {table} VALUES {', '.join([marks] * size)}"
            while rows >= size:
                end = start + size * width
                self.connection.execute(statement, values[start:end])
                start, rows = end, rows - size

    def _load(self) -> None:
        self._ids = {name: id_ for id_, name in self.connection.execute("SELECT id, name FROM destinations")}
        self._routes = {}
        last = self.connection.execute("SELECT max(seq) FROM events").fetchone()[0]
        self.next_seq = max(self.next_seq, (last or 0) + 1)

    def _count(self) -> None:
        execute = self.connection.execute
        for table in ("events", "dead"):
            self.change.bytes += execute(f"SELECT coalesce(sum(size), 0) FROM {table}").fetchone()[0]
        self.change.dead = execute("SELECT count(*) FROM dead").fetchone()[0]
        self.change.pending.update(pending_counts(self.connection))
        change, self.change = self.change, Change()
        self.tally.apply(change)


def pending_counts(connection: sqlite3.Connection) -> dict[str, int]:
    """Count the events that wait, by destination."""
    return dict(
        connection.execute(
            "SELECT name, count(*) FROM pending JOIN destinations ON id = destination GROUP BY destination"
        ).fetchall()
    )


def conditions(column: str, numbers: Iterable[int]) -> Iterator[tuple[str, Sequence[int]]]:
    """Yield SQL conditions, and their values, that say together that `column` is one of `numbers`."""
    wanted = sorted(set(numbers))
    most = FEW_VARIABLES // 2
    for start in range(0, len(wanted), most):
        chunk = wanted[start : start + most]
        if chunk[-1] - chunk[0] == len(chunk) - 1:  # without a gap, as when a lane delivers a batch
            yield f"{column} BETWEEN ? AND ?", (chunk[0], chunk[-1])
        else:
            while len(chunk) & (len(chunk) - 1):  # lengths are powers of two, for few statements to prepare
                chunk.append(chunk[-1])
            yield f"{column} IN ({', '.join('?' * len(chunk))})", chunk

"""The store: the operations on the file, on one connection and in one thread.

Each statement releases Python's interpreter lock and has to get it back from a loop that may be busy. So many rows go
into one statement, and a single statement gets no transaction around it.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from itertools import groupby
from operator import itemgetter
from typing import Any

from evbus_like.engine.outbox.layout import SEQ_BITS, SEQS, Route, Routes, cut, place_of, read_routes
from evbus_like.engine.outbox.presence import Presence
from evbus_like.engine.outbox.record import OVERHEAD, time_of
from evbus_like.engine.outbox.schema import prepare
from evbus_like.engine.outbox.settlement import Recent, conditions, settle
from evbus_like.engine.outbox.usage import Change, OutboxUsage, measure

PackedEvent = tuple[bytes, tuple[str, ...]]  # a record, and the names of its destinations
DELETE = "DELETE FROM segments WHERE place BETWEEN ? AND ?"
ROWS = 32  # rows per statement: at most so many statements are prepared


def size_of(packed: Sequence[PackedEvent]) -> int:
    """Give the bytes that packed events count."""
    return sum(map(len, map(itemgetter(0), packed))) + OVERHEAD * len(packed)


class Store:
    """Appends, settles and reads inside transactions; the caller calls `begin` and `commit` or `rollback`.

    Statements are gathered until `commit`, or until `run`, which must come before a read. The usage changes with the
    commit. After a disk error the connection is replaced.
    """

    def __init__(
        self, connect: Callable[[], sqlite3.Connection], path: str, usage: OutboxUsage, presence: Presence | None = None
    ) -> None:
        self.path = path
        self.presence = presence
        self.usage = usage
        self.change = Change()
        self.next_seq = 1
        self._connect = connect
        self._broken = False
        self._statements: list[tuple[str, Sequence[Any]]] = []
        self.routes = Routes()
        self._recent: defaultdict[str, Recent] = defaultdict(Recent)
        self.connection = connect()
        try:
            prepare(self.connection, path)
            self._tidy()
            self._count()
        except BaseException:
            self.connection.close()
            raise

    # ---- transactions

    def begin(self) -> None:
        """Begin a transaction; raises FileGone, and then nothing is written."""
        if self.presence is not None:
            self.presence.check(log=not self._broken)
        if self._broken:
            with suppress(sqlite3.Error):
                self.connection.close()
            if self.presence is not None:
                self.presence.forget_log()  # the close has written it back and removed it
            self.connection = self._connect()
            self._broken = False
            self.routes = read_routes(self.connection)

    def run(self) -> None:
        """Execute the gathered statements, so that their rows can be read."""
        if not self.connection.in_transaction:
            self.connection.execute("BEGIN IMMEDIATE")
        statements, self._statements = self._statements, []
        for statement, values in statements:
            self.connection.execute(statement, values)

    def commit(self) -> None:
        """Execute the gathered statements and make them durable."""
        if len(self._statements) == 1 and not self.connection.in_transaction:
            self.connection.execute(*self._statements.pop())
        elif self._statements or self.connection.in_transaction:
            self.run()
            self.connection.execute("COMMIT")
        change, self.change = self.change, Change()
        self.usage.apply(change)

    def rollback(self, suspect: bool) -> None:
        """Undo the transaction; `suspect` means that the connection must be replaced."""
        self.change = Change()
        self._statements = []
        self._recent.clear()
        self._broken = self._broken or suspect
        try:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            if not self._broken:
                self.routes = read_routes(self.connection)
        except sqlite3.Error:
            self._broken = True

    def close(self) -> None:
        """Write the log back into the file and close it."""
        with suppress(sqlite3.Error):
            self.connection.execute("PRAGMA busy_timeout = 0")  # do not wait for readers
            self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with suppress(sqlite3.Error):
            self.connection.close()

    # ---- events

    def append(self, packed: Sequence[PackedEvent]) -> None:
        """Write events, the first as `next_seq` and the others after it."""
        rows: list[Any] = []
        for names, run in groupby(packed, itemgetter(1)):
            route = self.routes.by_names.get(names) or self._make_route(names)
            records = [record for record, _ in run]
            for begin, end in cut(records, len(route.text)):
                place = place_of(route.number, self.next_seq + begin)
                count, held = end - begin, b"".join(records[begin:end])
                rows += (place, count, time_of(records[begin]), route.text, held)
                if len(names) == 1:
                    self._recent[names[0]].add(self.next_seq + begin, count, place, len(held) + OVERHEAD * count)
            self.next_seq += len(records)
            for name in names:
                self.change.pending[name] += len(records)
        self._insert("INSERT INTO segments", 5, rows)

    def settle(self, destination: str, seqs: Sequence[int]) -> None:
        """Mark events as delivered to a destination, and delete segments that no destination waits for."""
        whole, left = self._recent[destination].take(sorted(set(seqs)))
        for places in whole.ranges:
            self._statements.append((DELETE, places))
        self.change.bytes -= whole.bytes
        self.change.pending[destination] -= whole.events
        if left:
            self._settle_in_file(destination, left)

    def _settle_in_file(self, destination: str, seqs: Sequence[int]) -> None:
        if self._statements:
            self.run()
        for route in self.routes.of(destination):
            found = settle(self.connection, route, destination, seqs)
            for first in (*found.touched, *(place & SEQS for place in found.gone)):
                self._recent[destination].forget(first)
            if found.together:  # contiguous, as when a lane delivers a batch
                places = found.gone[0], found.gone[-1]
                self._statements.append((DELETE, places))
            else:
                self._delete("segments", found.gone)
            self._delete("done", found.marked)
            self._insert("INSERT OR REPLACE INTO done", 4, found.marks)
            self.change.bytes -= found.bytes
            self.change.pending[destination] -= found.events

    # ---- ids of handled events

    def handled_ids(self, listener: str, most: int) -> list[str]:
        """Give the newest ids of a listener, the oldest first, and delete those beyond `most`."""
        rows = self.connection.execute(
            "SELECT id FROM handled WHERE listener = ? ORDER BY number DESC LIMIT ?", (listener, most)
        ).fetchall()
        self.connection.execute(
            "DELETE FROM handled WHERE listener = ? AND number NOT IN"
            " (SELECT number FROM handled WHERE listener = ? ORDER BY number DESC LIMIT ?)",
            (listener, listener, most),
        )
        return [event_id for (event_id,) in reversed(rows)]

    def add_handled_id(self, listener: str, event_id: str, evicted: Sequence[str]) -> None:
        """Record the id of a handled event, and delete those that make room for it."""
        execute = self.connection.execute
        execute("INSERT OR REPLACE INTO handled (listener, id) VALUES (?, ?)", (listener, event_id))
        for old in evicted:
            execute("DELETE FROM handled WHERE listener = ? AND id = ?", (listener, old))

    # ---- within

    def _make_route(self, names: tuple[str, ...]) -> Route:
        route = self.routes.make(names)
        self._statements.append(("INSERT INTO routes (id, destinations) VALUES (?, ?)", (route.number, route.text)))
        return route

    def _insert(self, statement: str, width: int, values: list[Any]) -> None:
        for start in range(0, len(values), ROWS * width):
            chunk = values[start : start + ROWS * width]
            self._statements.append((_values(statement, width, len(chunk) // width), chunk))

    def _delete(self, table: str, places: Sequence[int]) -> None:
        for condition, values in conditions("place", places):
            self._statements.append((f"DELETE FROM {table} WHERE {condition}", values))

    def _tidy(self) -> None:
        """Delete unused routes and marks: a file may have had many routes over the years."""
        its = f"place BETWEEN id << {SEQ_BITS} AND (id << {SEQ_BITS}) + {SEQS}"
        self.connection.execute(f"DELETE FROM routes WHERE NOT EXISTS (SELECT 1 FROM segments WHERE {its})")
        self.connection.execute("DELETE FROM done WHERE place NOT IN (SELECT place FROM segments)")

    def _count(self) -> None:
        self.routes = read_routes(self.connection)
        contents = measure(self.connection)
        self.next_seq = contents.next_seq
        self.change.bytes, self.change.dead = contents.bytes, contents.dead
        self.change.scheduled = contents.scheduled
        self.change.pending.update(contents.pending)
        change, self.change = self.change, Change()
        self.usage.apply(change)


@cache
def _values(statement: str, width: int, rows: int) -> str:
    marks = f"({', '.join('?' * width)})"
    return f"{statement} VALUES {', '.join([marks] * rows)}"

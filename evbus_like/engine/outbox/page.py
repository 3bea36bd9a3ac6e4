"""Pages: the events that wait for a destination, read in order, a limited number at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from heapq import merge

from evbus_like.engine.event import Event
from evbus_like.engine.outbox.layout import AMONG, SEQS, Route, bounds
from evbus_like.engine.outbox.record import split, unpack

Page = list[tuple[int, Event]]
Place = tuple[int, bytes, bool]  # a seq, its record, and whether that is intact
WAITING = (
    "SELECT segments.place, count, coalesce(bits, 0), records FROM segments"
    " LEFT JOIN done ON done.place = segments.place AND destination = ?"
    f" WHERE {AMONG} AND (bits IS NULL OR bits <> (1 << count) - 1) ORDER BY segments.place"
)


def read_page(
    connection: sqlite3.Connection,
    routes: Sequence[Route],
    destination: str,
    after: int,
    limit_events: int,
    limit_bytes: int,
) -> tuple[Page, list[int]]:
    """Read the oldest events after a seq, at least one if any wait, and the seqs of damaged ones."""
    page: Page = []
    rotten: list[int] = []
    size = 0
    with ExitStack() as stack:
        waiting = [_read(connection, route, destination, after + 1, SEQS, stack) for route in routes]
        for seq, record, intact in waiting[0] if len(waiting) == 1 else merge(*waiting):
            size += len(record)
            if len(page) + len(rotten) >= limit_events or (size > limit_bytes and page):
                break
            if intact:
                page.append((seq, unpack(record)))
            else:
                rotten.append(seq)
    return page, rotten


def read_place(connection: sqlite3.Connection, route: Route, destination: str, seq: int) -> tuple[bytes, bool] | None:
    """Read one event's record and whether it is intact; None if it does not wait for the destination."""
    with ExitStack() as stack:
        for _, record, intact in _read(connection, route, destination, seq, seq, stack):
            return record, intact
    return None


def _read(
    connection: sqlite3.Connection, route: Route, destination: str, first: int, last: int, stack: ExitStack
) -> Iterator[Place]:
    values = (route.names.index(destination), *bounds(route.number, first, last))
    rows = stack.enter_context(closing(connection.execute(WAITING, values)))
    for place, count, bits, records in rows:
        for seq, (record, intact) in enumerate(split(records, count), place & SEQS):
            if first <= seq <= last and not bits >> (seq - (place & SEQS)) & 1:
                yield seq, record, intact

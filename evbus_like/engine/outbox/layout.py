"""How events lie in the file: routes, which are sets of destinations, and segments of consecutive events.

A segment holds consecutive events of one commit and one route, packed into one row. The row's `place` is the number of
its route and the seq of its first event in one integer: the table needs no index to find what waits for a destination,
and the segments of a route lie in order.
"""

from __future__ import annotations

import json
import sqlite3
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate


@dataclass(frozen=True)
class Route:
    """A route: its number, the names of its destinations, and these as the JSON that the file holds."""

    number: int
    names: tuple[str, ...]
    text: str


class Routes:
    """The routes of a file, by their names, and by the name of a destination."""

    def __init__(self, routes: Iterable[Route] = ()) -> None:
        self.by_names: dict[tuple[str, ...], Route] = {}
        self._of: dict[str, list[Route]] = {}
        self._next = 1
        for route in routes:
            self._add(route)

    def of(self, destination: str) -> list[Route]:
        """Give the routes that lead to a destination."""
        return self._of.get(destination, [])

    def all(self) -> Iterable[Route]:
        """Give all routes."""
        return self.by_names.values()

    def make(self, names: tuple[str, ...]) -> Route:
        """Add a route for a new set of destinations."""
        route = Route(self._next, names, json.dumps(names))
        self._add(route)
        return route

    def _add(self, route: Route) -> None:
        self.by_names[route.names] = route
        for name in route.names:
            self._of.setdefault(name, []).append(route)
        self._next = max(self._next, route.number + 1)


def read_routes(connection: sqlite3.Connection) -> Routes:
    """Read the routes of a file."""
    rows = connection.execute("SELECT id, destinations FROM routes ORDER BY id").fetchall()
    return Routes(Route(number, tuple(json.loads(text)), text) for number, text in rows)


ROOM = 4040  # bytes of records and names: a row fits one SQLite page, so that a damaged page costs one row
LEAST = 1024  # bytes of records, however long the names
MOST = 62  # events: an integer holds one bit per event for each destination (SQLite's have 63 bits and a sign)
SEQ_BITS = 40  # 10^12 events; 22 bits remain for the route
SEQS = (1 << SEQ_BITS) - 1
ONE = [(0, 1)]


def place_of(route: int, seq: int) -> int:
    """Give the place of the segment that begins with this seq."""
    return route << SEQ_BITS | seq


# SQL condition for the segments that may hold a range of seqs, with the values of `bounds`. It begins with the last
# segment that does not begin after the first seq.
AMONG = "segments.place BETWEEN max(?, coalesce((SELECT max(place) FROM segments WHERE place <= ?), 0)) AND ?"


def bounds(route: int, first: int, last: int) -> tuple[int, int, int]:
    """Give the place where a route begins, and the places of two seqs."""
    return place_of(route, 0), place_of(route, min(first, SEQS)), place_of(route, min(last, SEQS))


def cut(records: Sequence[bytes], names: int) -> list[tuple[int, int]]:
    """Split records into segments and give their bounds; the names of the destinations take `names` bytes."""
    if len(records) == 1:  # a fifth of the time
        return ONE
    ends = list(accumulate(map(len, records)))
    room, begin, before = max(LEAST, ROOM - names), 0, 0
    found = []
    while begin < len(ends):
        end = min(max(begin + 1, bisect_right(ends, before + room, begin)), begin + MOST)
        found.append((begin, end))
        begin, before = end, ends[end - 1]
    return found

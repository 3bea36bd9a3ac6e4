"""Segments: consecutive events of one commit and one route, packed into one row.

A row's `place` is the number of its route and the seq of its first event in one integer: so the table needs no index
to find what waits for a destination, and every route's segments stand in order.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

ROOM = 4040  # bytes of records and names: the row fits one page of SQLite's, so a bad page costs no more than is on it
LEAST = 1024  # bytes of records, however long the names
MOST = 62  # events: what a destination has of a segment is one integer, a bit for each event (SQLite has 63, and signs)
SEQ_BITS = 40  # 10^12 events; 22 bits remain for the route
SEQS = (1 << SEQ_BITS) - 1
ONE = [(0, 1)]


def place_of(route: int, seq: int) -> int:
    """Where a segment is that begins with this seq."""
    return route << SEQ_BITS | seq


# A condition for the segments that may hold the seqs of a range, with the values of `bounds`: the first of them is the
# last that does not begin behind the first seq.
AMONG = "segments.place BETWEEN max(?, coalesce((SELECT max(place) FROM segments WHERE place <= ?), 0)) AND ?"


def bounds(route: int, first: int, last: int) -> tuple[int, int, int]:
    """Give the place where a route begins, and those of two seqs."""
    return place_of(route, 0), place_of(route, min(first, SEQS)), place_of(route, min(last, SEQS))


def cut(records: Sequence[bytes], names: int) -> list[tuple[int, int]]:
    """Say where segments begin and end whose destinations take `names` bytes."""
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

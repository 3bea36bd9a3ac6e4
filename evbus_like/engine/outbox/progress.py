"""Progress: which events a destination has, noted with as few statements as can be."""

from __future__ import annotations

import sqlite3
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from evbus_like.engine.outbox.record import OVERHEAD
from evbus_like.engine.outbox.routes import Route
from evbus_like.engine.outbox.segment import AMONG, SEQS, bounds

FEW_VARIABLES = 999  # what SQLite before 3.32 allows in a statement
GAP = 1000  # seqs of others between two that are looked for together
# One row, for each row lets go of Python's interpreter lock, as a statement does.
FIND = f"""SELECT group_concat(place || ',' || count || ',' || size || ',' || destination || ',' || bits) FROM (
    SELECT segments.place AS place, count, length(records) AS size, coalesce(destination, -1) AS destination,
    coalesce(bits, 0) AS bits FROM segments LEFT JOIN done ON done.place = segments.place
    WHERE {AMONG} ORDER BY segments.place)"""


class Segment(NamedTuple):
    """A segment as far as settling goes: `marks` are the bits of the destinations that have some of it."""

    place: int
    events: int
    length: int
    marks: dict[int, int]


class SettlePlan:
    """What settling events changes in the file: segments to delete, marks to write and to delete."""

    def __init__(self) -> None:
        self.events = 0
        self.bytes = 0  # of the segments that go
        self.gone: list[int] = []  # their places
        self.together = False  # whether there is none between them that stays
        self.marked: list[int] = []  # of those that go, the places that have marks
        self.marks: list[int] = []  # place, destination and bits, one after the other
        self.touched: list[int] = []  # the first seqs of segments that get marks


def settle(connection: sqlite3.Connection, route: Route, destination: str, seqs: Sequence[int]) -> SettlePlan:
    """Work out what becomes of a route's segments when a destination has these seqs, which are in order."""
    found = SettlePlan()
    number, indices = route.names.index(destination), []
    for index, segment in enumerate(_find(connection, route, seqs)):
        first, count = segment.place & SEQS, segment.events
        begin = bisect_left(seqs, first)
        end = bisect_left(seqs, first + count, begin)
        whole = (1 << count) - 1
        bits = whole if end - begin == count else sum(1 << seq - first for seq in seqs[begin:end])
        before = segment.marks.get(number, 0)
        new = bits & ~before
        found.events += new.bit_count()
        after = {**segment.marks, number: before | bits}
        if new and all(after.get(each) == whole for each in range(len(route.names))):
            found.bytes += segment.length + OVERHEAD * count
            found.gone.append(segment.place)
            indices.append(index)
            if segment.marks:
                found.marked.append(segment.place)
        elif new:
            found.marks += (segment.place, number, before | bits)
            found.touched.append(first)
    near = len(list(stretches(seqs))) == 1
    found.together = near and bool(indices) and indices[-1] - indices[0] == len(indices) - 1
    return found


def _find(connection: sqlite3.Connection, route: Route, seqs: Sequence[int]) -> Iterator[Segment]:
    for first, last in stretches(seqs):
        text = connection.execute(FIND, bounds(route.number, first, last)).fetchone()[0]
        numbers = iter(map(int, text.split(","))) if text else iter(())
        rows = zip(numbers, numbers, numbers, numbers, numbers, strict=True)
        for (place, count, length), its in groupby(rows, lambda row: row[:3]):
            yield Segment(place, count, length, {number: bits for *_, number, bits in its if number >= 0})


def stretches(seqs: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield first and last of numbers that stand near each other."""
    if seqs and seqs[-1] - seqs[0] < GAP + 4 * len(seqs):
        yield seqs[0], seqs[-1]
        return
    begin = 0
    for index in range(1, len(seqs) + 1):
        if index == len(seqs) or seqs[index] - seqs[index - 1] > GAP:
            yield seqs[begin], seqs[index - 1]
            begin = index


def conditions(column: str, numbers: Iterable[int]) -> Iterator[tuple[str, Sequence[int]]]:
    """Yield SQL conditions, and their values, that say together that `column` is one of `numbers`."""
    wanted = sorted(set(numbers))
    most = FEW_VARIABLES // 2
    for start in range(0, len(wanted), most):
        chunk = wanted[start : start + most]
        while len(chunk) & (len(chunk) - 1):  # lengths are powers of two, for few statements to prepare
            chunk.append(chunk[-1])
        yield f"{column} IN ({', '.join('?' * len(chunk))})", chunk

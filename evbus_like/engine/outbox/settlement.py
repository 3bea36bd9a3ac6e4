"""Settling: which events their destinations have, recorded in as few statements as possible."""

from __future__ import annotations

import sqlite3
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

from evbus_like.engine.outbox.layout import AMONG, SEQS, Route, bounds
from evbus_like.engine.outbox.record import OVERHEAD
from evbus_like.engine.outbox.schema import checksum

FEW_VARIABLES = 999  # the limit of SQLite before 3.32 for one statement
GAP = 1000  # seqs in between, up to which two are looked up together
# One row: sqlite3 releases the interpreter lock for every row, and getting it back costs more than the text.
FIND = f"""SELECT group_concat(place || ',' || count || ',' || size || ',' || destination || ',' || bits) FROM (
    SELECT segments.place AS place, count, length(records) AS size, coalesce(destination, -1) AS destination,
    coalesce(bits, 0) AS bits FROM segments LEFT JOIN done ON done.place = segments.place
    WHERE {AMONG} ORDER BY segments.place)"""


class Segment(NamedTuple):
    """A segment in the file; `marks` are the bits of the destinations that have part of it."""

    place: int
    events: int
    length: int
    marks: dict[int, int]


class SettlePlan:
    """What settling changes in the file: segments to delete, marks to write and to delete."""

    def __init__(self) -> None:
        self.events = 0
        self.bytes = 0  # of the deleted segments
        self.gone: list[int] = []  # their places
        self.together = False  # whether one range covers them and nothing else
        self.marked: list[int] = []  # those of them that have marks
        self.marks: list[int] = []  # flat: place, destination, bits, checksum, place, ...
        self.touched: list[int] = []  # the first seqs of segments that get marks


def settle(connection: sqlite3.Connection, route: Route, destination: str, seqs: Sequence[int]) -> SettlePlan:
    """Plan the changes to a route's segments when a destination has these seqs, which are sorted."""
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
            bits |= before
            found.marks += (segment.place, number, bits, checksum(segment.place, number, bits))
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
    """Yield the first and the last of each group of near seqs."""
    if seqs and seqs[-1] - seqs[0] < GAP + 4 * len(seqs):
        yield seqs[0], seqs[-1]
        return
    begin = 0
    for index in range(1, len(seqs) + 1):
        if index == len(seqs) or seqs[index] - seqs[index - 1] > GAP:
            yield seqs[begin], seqs[index - 1]
            begin = index


def conditions(column: str, numbers: Iterable[int]) -> Iterator[tuple[str, Sequence[int]]]:
    """Yield SQL conditions and their values that together select rows whose `column` is one of `numbers`."""
    wanted = sorted(set(numbers))
    most = FEW_VARIABLES // 2
    for start in range(0, len(wanted), most):
        chunk = wanted[start : start + most]
        while len(chunk) & (len(chunk) - 1):  # lengths are powers of two, so that few statements are prepared
            chunk.append(chunk[-1])
        yield f"{column} IN ({', '.join('?' * len(chunk))})", chunk


MOST_SEGMENTS = 5000  # 1 MB; beyond that all are dropped, and the file is read instead


@dataclass
class Whole:
    """Segments that are completely delivered: contiguous ranges of places, their events and bytes."""

    ranges: list[tuple[int, int]] = field(default_factory=list)
    events: int = 0
    bytes: int = 0


class Recent:
    """Segments of this process that nothing was settled of, by their first seq: settling them needs no read."""

    def __init__(self) -> None:
        self._segments: dict[int, tuple[int, int, int, int]] = {}  # last seq, place, bytes, ordinal
        self._count = 0

    def add(self, first: int, count: int, place: int, size: int) -> None:
        """Add a segment that is written after the one before; `size` is what its events count in bytes."""
        if len(self._segments) >= MOST_SEGMENTS:
            self._segments.clear()
        self._count += 1
        self._segments[first] = first + count - 1, place, size, self._count

    def take(self, seqs: Sequence[int]) -> tuple[Whole, list[int]]:
        """Remove the segments that these sorted seqs cover completely; give them, and the seqs that are left."""
        whole, left = Whole(), []
        index, before = 0, 0
        while index < len(seqs):
            seq = seqs[index]
            last, place, size, number = self._segments.get(seq, (-1, 0, 0, 0))
            end = index + last - seq
            if last < 0 or end >= len(seqs) or seqs[end] != last:
                self.forget(seq)
                left.append(seq)
                index += 1
                continue
            del self._segments[seq]
            first = whole.ranges.pop()[0] if number == before + 1 and whole.ranges else place
            whole.ranges.append((first, place))
            whole.events += last - seq + 1
            whole.bytes += size
            index, before = end + 1, number
        return whole, left

    def forget(self, first: int) -> None:
        """Drop a segment of which a part is settled; the file says which."""
        self._segments.pop(first, None)

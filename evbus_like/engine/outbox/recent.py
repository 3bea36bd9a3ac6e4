"""Recent segments: those of this process, in memory, so that settling them needs no look into the file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

MOST_SEGMENTS = 5000  # 1 MB; when there are more, all are forgotten, and the file is asked for them


@dataclass
class Whole:
    """Segments of which a destination has everything now: ranges of places without others between, and their bytes."""

    ranges: list[tuple[int, int]] = field(default_factory=list)
    events: int = 0
    bytes: int = 0


class Recent:
    """Segments for one destination that are untouched, by the seq of their first event."""

    def __init__(self) -> None:
        self._segments: dict[int, tuple[int, int, int, int]] = {}  # last seq, place, bytes, how manieth
        self._count = 0

    def add(self, first: int, count: int, place: int, size: int) -> None:
        """Note a segment that is written next to the one before; `size` is what its events count."""
        if len(self._segments) >= MOST_SEGMENTS:
            self._segments.clear()
        self._count += 1
        self._segments[first] = first + count - 1, place, size, self._count

    def take(self, seqs: Sequence[int]) -> tuple[Whole, list[int]]:
        """Take off what these seqs, in order and each once, are all of; give that, and the seqs that are left."""
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
        """Forget a segment, for a part of it is settled: the file knows which."""
        self._segments.pop(first, None)

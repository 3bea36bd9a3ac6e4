"""Marks on offsets: a bit for each, so that a topic of ten million records takes a megabyte."""

from __future__ import annotations

CHUNK = 1 << 16  # offsets in one piece; pieces without a mark take nothing


class Marks:
    """Marks on the offsets of partitions; offsets outside of `ranges`, from their begins to their ends, have none."""

    def __init__(self, ranges: dict[int, tuple[int, int]]) -> None:
        self._ranges = ranges
        self._pieces: dict[tuple[int, int], bytearray] = {}

    def add(self, partition: int, offset: int) -> None:
        """Mark an offset."""
        begin, end = self._ranges.get(partition, (0, 0))
        if begin <= offset < end:
            number, at = divmod(offset, CHUNK)
            piece = self._pieces.get((partition, number))
            if piece is None:
                piece = self._pieces[partition, number] = bytearray(CHUNK // 8)
            piece[at >> 3] |= 1 << (at & 7)

    def __contains__(self, place: tuple[int, int]) -> bool:
        number, at = divmod(place[1], CHUNK)
        piece = self._pieces.get((place[0], number))
        return piece is not None and bool(piece[at >> 3] >> (at & 7) & 1)

    def without(self, other: Marks) -> int:
        """Return how many offsets have a mark here and none in the other."""
        count = 0
        for place, piece in self._pieces.items():
            bits = int.from_bytes(piece)
            count += (bits & ~int.from_bytes(other._pieces.get(place, b""))).bit_count()
        return count

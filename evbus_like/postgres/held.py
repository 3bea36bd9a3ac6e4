"""Rows that were read and that no lane can have yet: their destinations are full, or no profile takes them.

As with a put, an event waits until all its destinations have room, and those of other profiles do not wait for it. A
few rows of each profile are kept whole; of those behind them only the keys, to be read again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from evbus_like.postgres.rows import BODY, Key, Row

ROWS, BYTES = 2000, 4 * 1024 * 1024  # of one profile that are kept whole


class Held:
    """The rows of one profile that wait, in order: those that are kept whole, then the keys of the others."""

    def __init__(self) -> None:
        self.rows: deque[Row] = deque()
        self.keys: deque[Key] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self.rows) + len(self.keys)

    def add(self, rows: Iterable[Row]) -> None:
        """Add rows behind the others."""
        for row in rows:
            if self.keys or len(self.rows) >= ROWS or (self.rows and self._bytes >= BYTES):
                self.keys.append(row[:3])
            else:
                self._bytes += len(row[BODY])
                self.rows.append(row)

    def give_back(self, keys: Iterable[Key]) -> None:
        """Add rows in front of the others, by their keys."""
        whole = [row[:3] for row in self.rows]
        self.rows.clear()
        self._bytes = 0
        self.keys.extendleft(reversed([*keys, *whole]))

    def next_rows(self, most: int) -> list[Row]:
        """Remove and return the first rows that are kept whole."""
        taken = [self.rows.popleft() for _ in range(min(most, len(self.rows)))]
        self._bytes -= sum([len(row[BODY]) for row in taken])
        return taken

    def next_keys(self, most: int) -> list[Key]:
        """Remove and return the first keys, if no row is kept whole."""
        return [] if self.rows else [self.keys.popleft() for _ in range(min(most, len(self.keys)))]

    def drop(self, parts: set[int]) -> Iterator[Key]:
        """Remove the rows of some parts, and yield their keys."""
        rows, keys = list(self.rows), list(self.keys)
        self.rows.clear()
        self.keys.clear()
        self._bytes = 0
        for row in rows:
            if row[0] in parts:
                yield row[:3]
            else:
                self._bytes += len(row[BODY])
                self.rows.append(row)
        for key in keys:
            if key[0] in parts:
                yield key
            else:
                self.keys.append(key)

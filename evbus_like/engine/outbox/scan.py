"""Scan: reads the rows of a damaged table by their keys, and steps over those that cannot be read."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

LAST = 2**62  # no key is beyond it


def scan(source: sqlite3.Connection, statement: str, after: int = -1, last: int = LAST) -> Iterator[tuple[Any, ...]]:
    """Yield rows by their keys, the first column, which the statement says is greater than its one variable.

    Damage hides the keys of a page or of a few: what comes behind is found in growing steps, and then to the key.
    """
    while True:
        try:
            for row in source.execute(statement, (after,)):
                if type(row[0]) is not int or not after < row[0] < LAST:
                    raise sqlite3.DatabaseError("keys out of order")
                if row[0] > last:
                    return
                after = row[0]
                yield row
            return
        except sqlite3.DatabaseError:
            beyond = _beyond(source, statement, after, last)
            if beyond is None:
                return
            single = _first(source, statement, beyond)  # Python reads a row ahead: the last before damage is lost to it
            if single is None or single[0] > last:
                return
            after = single[0]
            yield single


def _beyond(source: sqlite3.Connection, statement: str, after: int, end: int) -> int | None:
    """Find the least key from which on rows can be read again, or one near it.

    Steps grow by a sixteenth: what can be read and is shorter than that, next to what cannot, may be stepped over.
    """
    if _readable(source, statement, after):
        return after
    step = last = 1
    while not _readable(source, statement, after + step):
        last, step = step, step + 1 + step // 16
        if after + step > end:
            return None
    unreadable, readable = after + last, after + step
    while readable - unreadable > 1:
        middle = (unreadable + readable) // 2
        if _readable(source, statement, middle):
            readable = middle
        else:
            unreadable = middle
    return readable


def _readable(source: sqlite3.Connection, statement: str, after: int) -> bool:
    try:
        row = _first(source, statement, after)
    except sqlite3.DatabaseError:
        return False
    return row is None or (type(row[0]) is int and after < row[0] < LAST)


def _first(source: sqlite3.Connection, statement: str, after: int) -> tuple[Any, ...] | None:
    with closing(source.execute(f"{statement} LIMIT 1", (after,))) as rows:
        row: tuple[Any, ...] | None = rows.fetchone()
        return row

"""The pages of a damaged file and the rows in them, read without SQLite, whose trees may be torn.

Every page that holds rows is read by itself, wherever it is in the tree, and so are those that the tree has lost.
Formats: https://www.sqlite.org/fileformat2.html#b_tree_pages
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from struct import Struct, error, unpack_from
from typing import Any

from evbus_like.engine.files import read_own
from evbus_like.engine.outbox.wal import PAGE, Log

TABLE, INDEX, TABLE_NODE, INDEX_NODE = 13, 10, 5, 2  # the first byte of a page of a tree
FIRST_FREE, FREE = 32, 36  # places in page 1: the first page of the list of free pages, and how many it lists
_HEAD = Struct(">BHHHB")
_LONG = Struct(">I")
INTEGERS = (0, 1, 2, 3, 4, 6, 8)  # bytes of the serial types of numbers
BAD = (IndexError, error, ValueError, OverflowError)  # what damaged bytes raise

Row = tuple[int, Sequence[Any]]  # the row's number, None in indices, and its values


class Pages:
    """The pages of a file with its log on top; `unread` counts those that cannot be read once all rows were."""

    def __init__(self, path: Path, log: Log) -> None:
        self._data = read_own(path) or b""
        self._log = log
        self._newest: dict[int, bytes] = {}  # of the log
        torn: dict[int, bytes] = {}  # damaged and not written again
        commits = [frame.commit for frame in log.frames if frame.commit and frame.proven]
        limit = max([len(self._data) // PAGE, *commits[-1:]]) + len(log.frames)  # a page number may be damaged, too
        for frame in log.frames:
            if frame.sound and frame.page <= limit:
                self._newest[frame.page] = frame.data
                torn.pop(frame.page, None)
            else:
                torn[frame.page] = frame.data
        self._more = [*torn.values()]  # pages beside those of the file
        self.torn = len(torn)
        if log.beside:
            self._more += self._newest.values()
            self._newest, commits = {}, []
        self.count = max([-(-len(self._data) // PAGE), *commits[-1:], *self._newest])
        self.used: set[int] = set()
        self._free = self._free_pages()

    @property
    def unread(self) -> int:
        """How many pages of the file hold neither rows nor parts of rows, and are not free."""
        return self.count - len({*self.used, *self._free})

    def rows(self, kind: int) -> Iterator[Row]:
        """Yield the rows of all tables, or of all indices, and skip what is damaged."""
        for number in range(1, self.count + 1):
            if number not in self._free and (page := self.page(number)):
                yield from self._rows(page, kind, number)
        for page in self._more:
            yield from self._rows(page, kind, 0)

    def page(self, number: int) -> bytes:
        """Give the newest form of a page."""
        found = self._newest.get(number)
        return self._data[(number - 1) * PAGE : number * PAGE] if found is None else found

    def _rows(self, page: bytes, kind: int, number: int) -> Iterator[Row]:
        at = 100 if page.startswith(b"SQLite format 3\0") else 0
        if len(page) < PAGE or page[at] not in (TABLE, INDEX, TABLE_NODE, INDEX_NODE):
            return
        cells, node = _HEAD.unpack_from(page, at)[2], page[at] in (TABLE_NODE, INDEX_NODE)
        first = at + _HEAD.size + 4 * node
        if first + 2 * cells > PAGE:
            return
        whole = True
        for each in unpack_from(f">{cells}H", page, first) if page[at] != TABLE_NODE else ():
            try:
                if (page[at] == TABLE) == (kind == TABLE):
                    yield self._row(page, each + 4 * node, page[at])
            except BAD:
                whole = False
        if whole:
            self.used.add(number)

    def _row(self, page: bytes, at: int, kind: int) -> Row:
        size, at = _varint(page, at)
        number = 0
        if kind == TABLE:
            number, at = _varint(page, at)
        here = _local(size, kind == TABLE)
        payload = page[at : at + here]
        if len(payload) < here:
            raise ValueError("beyond the page")
        if here < size:
            payload += self._overflow(_LONG.unpack_from(page, at + here)[0], size - here)
        return number, _values(payload)

    def _overflow(self, number: int, size: int) -> bytes:
        """Read the rest of a long row from the pages that it goes on in."""
        parts, seen = [], []
        while size > 0:
            page = self.page(number)
            if not 0 < number <= self.count or number in seen or len(page) < PAGE:
                raise ValueError("a broken chain")
            seen.append(number)
            parts.append(page[4 : 4 + size])
            size -= len(parts[-1])
            number = _LONG.unpack_from(page)[0]
        self.used.update(seen)
        return b"".join(parts)

    def _free_pages(self) -> set[int]:
        """Read the list of free pages, whose rows were deleted; an empty set if the list is damaged."""
        found: set[int] = set()
        first = self.page(1)
        if len(first) < PAGE or any(frame.page == 1 and not frame.sound for frame in self._log.frames):
            return found
        trunk, expected = _LONG.unpack_from(first, FIRST_FREE)[0], _LONG.unpack_from(first, FREE)[0]
        while trunk and len(page := self.page(trunk)) == PAGE and trunk not in found:
            after, count = unpack_from(">2I", page)
            if count > PAGE // 4 - 2:
                return set()
            found |= {trunk, *unpack_from(f">{count}I", page, 8)}
            trunk = after
        return found if len(found) == expected and max(found, default=0) <= self.count else set()


def table_names(path: Path) -> list[str]:
    """Give the names of the tables of a database, without opening it."""
    rows = Pages(path, Log()).rows(TABLE)
    return [str(values[1]) for _, values in rows if len(values) == 5 and values[0] == "table"]


def _local(size: int, table: bool) -> int:
    """Give how many bytes of a row are on its page."""
    most = PAGE - 35 if table else (PAGE - 12) * 64 // 255 - 23
    least = (PAGE - 12) * 32 // 255 - 23
    if size <= most:
        return size
    some = least + (size - least) % (PAGE - 4)
    return some if some <= most else least


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Read a number of variable length; gives it and the place behind it."""
    value = 0
    for index in range(8):
        byte = data[at + index]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + index + 1
    return value << 8 | data[at + 8], at + 9


def _values(payload: bytes) -> Sequence[Any]:
    """Decode the values of a row."""
    end, at = _varint(payload, 0)
    place, values = end, []
    while at < end:
        kind, at = _varint(payload, at)
        size = INTEGERS[kind] if kind < 7 else 8 if kind == 7 else 0 if kind < 10 else (kind - 12) // 2
        part = payload[place : place + size]
        if len(part) < size or kind in (10, 11):
            raise ValueError("beyond the row")
        values.append(_value(kind, part))
        place += size
    if place != len(payload) or at != end:
        raise ValueError("other values than bytes")
    return values


def _value(kind: int, part: bytes) -> Any:
    if kind == 0:
        return None
    if kind < 7:
        return int.from_bytes(part, signed=True)
    if kind == 7:
        return unpack_from(">d", part)[0]
    if kind < 10:
        return kind - 8
    return part.decode() if kind % 2 else part

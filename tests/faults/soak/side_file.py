"""The side file of a publisher: it records which puts returned, and survives a kill of the process.

A line is "profile key number id run"; the id is "-" for a put with an unknown outcome. The file has several
parts, because a limit on the size of files is one of the faults and must not affect this record.
"""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PART = 64 * 1024  # bytes after which a new part begins


class Line(NamedTuple):
    """One put."""

    profile: str
    key: str
    number: int
    id: str
    run: int

    @property
    def certain(self) -> bool:
        """Whether the put returned."""
        return self.id != "-"


class SideFile:
    """What was put: each line is on the disk when `write` returns; many share one fsync."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines: list[str] = []
        self._flushing: asyncio.Task[None] | None = None
        self._open()

    def _open(self) -> None:
        number = len(parts(self._path))
        self._file = open(f"{self._path}.{number:06}", "xb", buffering=0)  # noqa: SIM115 - closed with the process

    async def write(self, profile: str, key: str, number: int, event_id: str, run: int) -> None:
        """Append a line and return when it is on the disk."""
        line = f"{profile} {key} {number} {event_id} {run}\n"
        self._lines.append(line)
        while line in self._lines:
            if self._flushing is None or self._flushing.done():
                self._flushing = asyncio.create_task(self._flush())
            await asyncio.shield(self._flushing)

    async def _flush(self) -> None:
        lines = self._lines[:]
        await asyncio.to_thread(self._append, "".join(lines).encode())
        del self._lines[: len(lines)]

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _append(self, data: bytes) -> None:
        if self._file.tell() + len(data) > PART:
            self._file.close()
            self._open()
        self._file.write(data)
        os.fsync(self._file.fileno())


class SideFileReader:
    """Reads a side file while it grows: `more` gives the lines that have come since the last time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = self._offset = 0

    def more(self) -> Iterator[Line]:
        """Yield new lines, except one that a kill has cut."""
        files = parts(self._path)
        for number in range(self._part, len(files)):
            if number > self._part:
                self._part, self._offset = number, 0
            with files[number].open("rb") as file:
                file.seek(self._offset)
                whole, newline, _ = file.read().rpartition(b"\n")
            self._offset += len(whole) + len(newline)
            for words in map(str.split, whole.decode().splitlines()):
                yield Line(words[0], words[1], int(words[2]), words[3], int(words[4]))


def parts(path: Path) -> list[Path]:
    """Give the parts of a side file, in order."""
    return sorted(path.parent.glob(f"{path.name}.*"))


def highest(path: Path) -> dict[str, int]:
    """Give the highest number of each key."""
    numbers: dict[str, int] = {}
    for line in SideFileReader(path).more():
        numbers[line.key] = max(line.number, numbers.get(line.key, -1))
    return numbers


def recorded(path: Path) -> dict[tuple[str, str], list[int]]:
    """Read a whole side file: the numbers of each profile and key whose put returned."""
    numbers: dict[tuple[str, str], list[int]] = {}
    for line in SideFileReader(path).more():
        if line.certain:
            numbers.setdefault((line.profile, line.key), []).append(line.number)
    return numbers

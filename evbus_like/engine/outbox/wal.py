"""The write-ahead log and its index, read without SQLite.

SQLite's recovery stops at the first frame whose checksum is wrong, and drops all that follow in silence: that is right
for a write that a crash tore, and wrong for a log that was damaged later. What tells them apart:

- A killed process leaves the index (-shm), which says how many frames were committed. SQLite writes it after the frames
  are on the disk, and makes it anew when the file is opened next: it must be read before that.
- A frame behind the break that ends a commit was on the disk, with all that was committed before it.

Formats: https://www.sqlite.org/fileformat2.html#the_write_ahead_log and https://www.sqlite.org/walformat.html
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from struct import Struct, iter_unpack

from evbus_like.engine.files import read_own

PAGE = 4096  # bytes: SQLite's page size, and ours
MAGIC = (0x377F0682, 0x377F0683)  # the checksums are of little-endian numbers, and of big-endian ones
_HEADER = Struct(">4I8s2I")  # magic, format, page size, checkpoint, salts, checksum
_FRAME = Struct(">2I8s2I")  # page, pages after the commit (0: no commit), salts, checksum
_STEP = _FRAME.size + PAGE
_INDEX = Struct(
    "=3I2BH4I8s2I"
)  # version, -, change, initialized, order, page size, frames, pages, checksum, salts, own
_WRITTEN_BACK = Struct("=I")
COUNTER, COOKIE, VALID_FOR = 24, 40, 92  # places in page 1; the last is the counter when the header was written
OLDER, OTHER = "its log is older than the file", "its log belongs to another file"
LIFE = 1000  # generations of one log: salts further apart are those of another

Sums = tuple[int, int]


@dataclass(frozen=True)
class Index:
    """What a killed process knew of its log: the salts, the committed frames, and those written back to the file."""

    salts: bytes
    frames: int
    written_back: int


@dataclass(frozen=True)
class Frame:
    """One page in the log; `commit` is the number of pages after the commit that it ends, or 0.

    It is `sound` if its checksum is right, or cannot be known, because frames before it are damaged: then it is not
    `proven`.
    """

    page: int
    commit: int
    data: bytes
    sound: bool
    proven: bool = True


NOTHING = Frame(0, 0, b"", False)


@dataclass
class Log:
    """What a log holds. `reason` says why SQLite must not read it, or is None.

    `frames` are those of its last generation up to the last commit, damaged ones included. They are `beside` the file's
    pages, and do not replace them, if the log belongs to another file. `missing` counts committed frames that are not
    there, `stale` the bytes of a log that must not be applied.
    """

    reason: str | None = None
    frames: list[Frame] = field(default_factory=list)
    beside: bool = False
    missing: int = 0
    stale: int = 0


def read_index(shm: Path) -> Index | None:
    """Read the index of a log, None if it holds nothing, or is damaged."""
    data = read_own(shm, 2 * _INDEX.size + _WRITTEN_BACK.size)
    if data is None or len(data) < 2 * _INDEX.size + _WRITTEN_BACK.size:
        return None
    for at in (0, _INDEX.size):
        *_, frames, _, _, _, salts, sum0, sum1 = fields = _INDEX.unpack_from(data, at)
        if fields[3] and _sums(data[at : at + _INDEX.size - 8], (0, 0), sys.byteorder == "big") == (sum0, sum1):
            back = _WRITTEN_BACK.unpack_from(data, 2 * _INDEX.size)[0]
            return Index(salts, frames, min(back, frames))
    return None


def read_log(wal: Path, index: Index | None, first_page: bytes) -> Log:
    """Read a log; `first_page` is the first page of its file, which says whether the log is older than the file."""
    data = read_own(wal) or b""
    if len(data) < _HEADER.size:
        return _absent(index, len(data))
    magic, _, size, _, salts, *sums = _HEADER.unpack_from(data)
    known = (magic in MAGIC) and size == PAGE and _sums(data[:24], (0, 0), magic & 1) == (sums[0], sums[1])
    if not known:
        salts = index.salts if index and index.frames else _common_salts(data)
    found = Log() if known else Log("the header of its log is damaged")
    if known and index is not None and index.salts != salts and _is_older(salts, index):
        return Log("its log was replaced by an older one", missing=index.frames, stale=len(data))
    frames, accepted = _generation(data, salts, (sums[0], sums[1]) if known else None, magic & 1)
    commits = [number for number, frame in enumerate(frames, 1) if frame.commit]
    found.frames = frames[: commits[-1]] if commits else []
    committed = len(found.frames)
    if not known:
        found.reason = found.reason if len(data) >= _HEADER.size + _STEP or (index and index.frames) else None
    elif committed > accepted:
        found.reason = f"frame {accepted + 1} of the {committed} in its log is damaged"
    if index is not None and index.salts == salts and index.frames > committed:
        found.missing = index.frames - committed
        found.reason = found.reason or f"its log ends after {committed} of {index.frames} frames"
    misfit = _misfit(found.frames, first_page)
    if misfit == OLDER:
        return Log(misfit, stale=len(data))
    found.beside, found.reason = misfit is not None, misfit or found.reason
    return found


def _absent(index: Index | None, size: int) -> Log:
    if index is None or index.frames == index.written_back:
        return Log()
    return Log(f"its log is {'cut off' if size else 'missing'}", missing=index.frames - index.written_back)


def _common_salts(data: bytes) -> bytes:
    """Give the salts of most of the first frames: one of them may be damaged, and older ones follow."""
    some = range(_HEADER.size, min(len(data), _HEADER.size + 5 * _STEP) - _FRAME.size, _STEP)
    found = Counter(_FRAME.unpack_from(data, at)[2] for at in some).most_common(1)
    return bytes(found[0][0]) if found else b""


def _is_older(salts: bytes, index: Index) -> bool:
    """Whether salts are of an earlier generation: SQLite adds one to the first with each.

    Other salts than the index has are no proof: after a power failure the index may be the older one.
    """
    behind = int.from_bytes(index.salts[:4]) - int.from_bytes(salts[:4]) & 0xFFFFFFFF
    return bool(index.frames) and 0 < behind < LIFE


def _misfit(frames: list[Frame], first_page: bytes) -> str | None:
    """Say why a log does not go with its file, or give None.

    Each commit that changes page 1 adds one to the counter there. The file has the counter of a commit in the log, or
    of the one before them. The schema's cookie is random in each of our files.
    """
    firsts = [frame.data for frame in frames if frame.page == 1 and frame.sound]
    if not firsts or len(first_page) < PAGE or _number(first_page, COUNTER) != _number(first_page, VALID_FOR):
        return None
    in_file, cookies = _number(first_page, COUNTER), {_number(page, COOKIE) for page in (first_page, firsts[0])}
    if len(cookies - {0}) > 1:
        return OTHER
    if in_file > _number(firsts[-1], COUNTER):
        return OLDER
    return OTHER if in_file + 1 < _number(firsts[0], COUNTER) else None


def _number(page: bytes, at: int) -> int:
    return int.from_bytes(page[at : at + 4])


def _generation(data: bytes, salts: bytes, seed: Sums | None, big: int) -> tuple[list[Frame], int]:
    """Read the frames of one generation, and give how many of them SQLite accepts: the last is the end of a commit.

    A checksum goes on from the one before. Where a frame is damaged, the next may follow the checksum that the damaged
    one holds, or the one that it should hold. Checksums do not cover salts.
    """
    frames: list[Frame] = []
    seeds = [seed] if seed else []
    accepted, unbroken = 0, bool(seed)
    for page, commit, its_salts, stored, body, content in _raw(data):
        reached = [_sums(content, _sums(body, each, big), big) for each in seeds]
        right, genuine = stored in reached, its_salts == salts
        if not right and not genuine:
            frames.append(NOTHING)  # of an earlier generation, or damaged beyond use
            seeds, unbroken = [], False
            continue
        frames.append(Frame(page, commit, content, right or not seeds, right))
        unbroken = unbroken and right and genuine and page > 0
        if unbroken and commit:
            accepted = len(frames)
        seeds = [stored] if right else [stored, *reached[-1:]]
    return frames, accepted


def _raw(data: bytes) -> Iterator[tuple[int, int, bytes, Sums, bytes, bytes]]:
    for at in range(_HEADER.size, len(data) - _STEP + 1, _STEP):
        page, commit, salts, *sums = _FRAME.unpack_from(data, at)
        yield page, commit, salts, (sums[0], sums[1]), data[at : at + 8], data[at + _FRAME.size : at + _STEP]


def _sums(data: bytes, seed: Sums, big: int) -> Sums:
    """Go on with SQLite's checksum; 60 microseconds for a page."""
    s0, s1 = seed
    for x0, x1 in iter_unpack(">II" if big else "<II", data):
        s0 = s0 + x0 + s1 & 0xFFFFFFFF
        s1 = s1 + x1 + s0 & 0xFFFFFFFF
    return s0, s1

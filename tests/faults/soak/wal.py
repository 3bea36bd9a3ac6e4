"""Torn writes: what a crash may leave behind the last commit of an outbox, and what it must not take before it."""

import os
import random
import sqlite3
import struct
from contextlib import closing
from pathlib import Path

# https://www.sqlite.org/fileformat2.html#the_write_ahead_log
HEADER, FRAME_HEADER = 32, 24
MOST = 20_000  # bytes of garbage


def log_of(outbox: Path) -> Path:
    """Give the path of an outbox's log."""
    return outbox.with_name(f"{outbox.name}-wal")


def committed(wal: Path) -> int:
    """Give the length of a log up to the end of its last commit, 0 if there is none.

    A frame that was cut off counts as committed if it says so: then a little more is left than need be.
    """
    end = 0
    with wal.open("rb") as file:
        header = file.read(HEADER)
        if len(header) < HEADER:
            return 0
        (size,) = struct.unpack_from(">I", header, 8)
        salts, place = header[16:24], HEADER
        while len(frame := file.read(FRAME_HEADER)) == FRAME_HEADER and frame[8:16] == salts:
            place += FRAME_HEADER + size
            if frame[4:8] != bytes(4):  # the size of the database, in the last frame of a commit only
                end = place
            file.seek(place)
    return end


def spoil_uncommitted(outbox: Path, choose: random.Random) -> bool:
    """Put garbage behind the last commit of a log; gives whether there was one. Nothing of the outbox may be lost."""
    wal = log_of(outbox)
    end = committed(wal) if wal.exists() else 0
    if not end:
        return False
    with wal.open("r+b") as file:
        file.truncate(end)
        file.seek(end)
        file.write(choose.randbytes(choose.randrange(1, MOST)))
    return True


def cut_log(outbox: Path, share: float) -> bool:
    """Cut a log so that a share of it is left; gives whether the file itself has nothing of it yet.

    Where it has not, the commits before the cut are left, as if time had ended there.
    """
    wal = log_of(outbox)
    os.truncate(wal, int(committed(wal) * share))
    return outbox.stat().st_size <= 4096


def empty_log(outbox: Path) -> None:
    """Write a log back into its file, as an orderly end does."""
    with closing(sqlite3.connect(outbox)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def cut_file(outbox: Path, share: float) -> bool:
    """Write a log back into its file, and cut that so that a share of it is left; gives False: any event may be hit."""
    empty_log(outbox)
    os.truncate(outbox, int(outbox.stat().st_size * share))
    return False

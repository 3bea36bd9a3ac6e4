"""Torn writes: garbage that a crash may leave after the last commit of an outbox, and logs and files that are cut."""

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

    A frame that was cut off counts as committed if its header says so; the result may then be a little too long.
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
    """Write garbage after the last commit of a log; gives whether there was a commit. No event may be lost by it."""
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
    """Cut a log to a share of its length; gives whether nothing of it has been written to the file itself.

    If so, all commits before the cut are kept.
    """
    wal = log_of(outbox)
    os.truncate(wal, int(committed(wal) * share))
    return outbox.stat().st_size <= 4096


def empty_log(outbox: Path) -> None:
    """Checkpoint a log into its file, as an orderly end does."""
    with closing(sqlite3.connect(outbox)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def cut_file(outbox: Path, share: float) -> bool:
    """Checkpoint a log into its file, and cut that to a share of its length; gives False: any event may be lost."""
    empty_log(outbox)
    os.truncate(outbox, int(outbox.stat().st_size * share))
    return False

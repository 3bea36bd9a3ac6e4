"""Memory that a supervisor and its workers share: numbers by name, which one process at a time changes."""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import tempfile
from collections.abc import Callable
from hashlib import blake2b

SLOTS = 4096
ENTRY = struct.Struct("=Qd")  # a checksum of the name, 0 for a free place, and the value
SIZE = SLOTS * ENTRY.size


def made() -> int:
    """Make shared memory, and return its descriptor; workers inherit it."""
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("evbus_like")
    else:
        with tempfile.TemporaryFile() as opened:
            file = os.dup(opened.fileno())
    os.ftruncate(file, SIZE)
    return file


class SharedSlots:
    """The shared memory of a descriptor."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._memory = mmap.mmap(file, SIZE)

    def slot(self, name: str) -> SharedSlot:
        """Return the place of a name, a new one if there is none."""
        wanted = int.from_bytes(blake2b(name.encode(errors="replace"), digest_size=8).digest(), "little") or 1
        fcntl.lockf(self._file, fcntl.LOCK_EX)
        try:
            for step in range(SLOTS):
                at = (wanted + step) % SLOTS * ENTRY.size
                found, _ = ENTRY.unpack_from(self._memory, at)
                if not found:
                    ENTRY.pack_into(self._memory, at, wanted, 0.0)
                if found in (0, wanted):
                    return SharedSlot(self._file, self._memory, at)
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN)
        raise RuntimeError(f"more than {SLOTS} names")


class SharedSlot:
    """One number. If a process dies while it changes it, the kernel lets the others go on."""

    def __init__(self, file: int, memory: mmap.mmap, at: int) -> None:
        self._file, self._memory, self._at = file, memory, at

    def change(self, change: Callable[[float], float]) -> float:
        """Replace the value by what the function returns, and return the value before."""
        fcntl.lockf(self._file, fcntl.LOCK_EX, ENTRY.size, self._at)
        try:
            key, before = ENTRY.unpack_from(self._memory, self._at)
            ENTRY.pack_into(self._memory, self._at, key, change(before))
            return float(before)
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, ENTRY.size, self._at)

"""The folder of the sockets on which running processes answer: one file for each, named by its process id."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SUFFIX = ".sock"
OF_WORKER = ".worker.sock"  # its supervisor answers for it


def name_of(pid: int, of_worker: bool = False) -> str:
    """Return the name of a process's socket."""
    return f"{pid}{OF_WORKER if of_worker else SUFFIX}"


def sockets(folder: Path) -> list[Path]:
    """Return the sockets of processes that answer for themselves; some may be left by a process that was killed."""
    return sorted(path for path in _named(folder) if not path.name.endswith(OF_WORKER))


def _named(folder: Path) -> Iterator[Path]:
    """Yield all sockets but those that do not listen yet, whose names begin with a dot."""
    return (path for path in folder.glob(f"*{SUFFIX}") if not path.name.startswith("."))


@contextmanager
def address(path: Path) -> Iterator[str]:
    """Yield an address for a socket's path, of any length: the kernel takes 107 bytes."""
    if len(os.fsencode(path)) <= 107:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def remove_dead(folder: Path) -> None:
    """Remove sockets that nobody listens on any more."""
    for path in _named(folder):
        with socket.socket(socket.AF_UNIX) as caller, address(path) as where, suppress(OSError):
            caller.setblocking(False)
            try:
                caller.connect(where)
            except ConnectionRefusedError:
                path.unlink(missing_ok=True)

"""Files that the operator names: read at most so many bytes, within a deadline, whatever kind of file it is."""

from __future__ import annotations

import os
import pwd
import select
import stat
import time
from pathlib import Path

CHUNK = 65536
DEADLINE = 5.0  # seconds in which a pipe must be written


class UnreadableFile(ValueError):
    """A file cannot be read; the text says why, without its path."""


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return a path whose ~ is replaced by the home folder; raises RuntimeError where there is none.

    An empty HOME counts as none, and the user database says where the home folder is: ~/x would be /x.
    """
    given = Path(path)
    if given.parts[:1] != ("~",) or os.environ.get("HOME", "").startswith("/"):
        return given.expanduser()
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir, *given.parts[1:])
    except KeyError:
        raise RuntimeError("user has no home folder") from None


def read(path: str, most: int) -> tuple[bytes, os.stat_result]:
    """Return the content of a file and its status; raises UnreadableFile.

    A pipe, such as that of `<(...)`, can be read once. One that nobody writes is given up after a deadline.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise UnreadableFile("does not exist") from None
    except (OSError, ValueError) as error:
        raise UnreadableFile(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    try:
        status = os.fstat(fd)
        if stat.S_ISDIR(status.st_mode):
            raise UnreadableFile("is a folder, not a file")
        if status.st_size > most:
            raise UnreadableFile(f"has {status.st_size} bytes; the limit is {most}")
        return _content(fd, most), status
    except OSError as error:
        raise UnreadableFile(f"cannot be read: {error.strerror or error}") from None
    finally:
        os.close(fd)


def _content(fd: int, most: int) -> bytes:
    deadline = time.monotonic() + DEADLINE
    waiting = select.poll()
    waiting.register(fd, select.POLLIN | select.POLLHUP)
    content = bytearray()
    while len(content) <= most:
        if not waiting.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise UnreadableFile(f"is a pipe or a device, and nothing came from it within {DEADLINE:g} seconds")
        try:
            chunk = os.read(fd, CHUNK)
        except BlockingIOError:
            continue
        if not chunk:
            return bytes(content)
        content += chunk
    raise UnreadableFile(f"has more than {most} bytes, the limit")

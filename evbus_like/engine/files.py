"""Files that must be ours: opened without following links, and only if this user, or root, owns them.

Another user who can write into a folder can plant a link, a FIFO or a file there, under a name that we open next. So
the open file is checked, and not its name: the name may mean another file between a check and its use.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from evbus_like.engine.given_files import expanded

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
ANY = 1 << 31  # names of a file
OWN = "remove it, or give the path of a file of its own"


class UnsafeFile(OSError):
    """A file or folder that must not be used: it is not ours, or others can exchange it."""


def resolve(path: str | os.PathLike[str]) -> Path:
    """Give the real path of a file: links in its folder are followed, a link of its own name is not."""
    given = expanded(path)
    return Path(os.path.realpath(given.parent)) / given.name


def open_own(path: Path, flags: int = os.O_RDONLY, links: int = 1) -> int:
    """Open a regular file of this user or of root that has one name, and give its descriptor.

    With O_CREAT a new file is for this user alone. Raises UnsafeFile for everything else, and OSError. It never waits:
    not for the other end of a FIFO either.
    """
    try:
        file = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.ENODEV, errno.EISDIR):
            raise _unsafe(path, f"is {kind_of(os.lstat(path).st_mode)}, not a file; {OWN}") from None
        raise
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            raise _unsafe(path, f"is {kind_of(found.st_mode)}, not a file; {OWN}")
        _check_owner(path, found)
        check_names(path, file, links)
    except BaseException:
        os.close(file)
        raise
    return file


def check_names(path: Path, file: int, links: int = 1) -> None:
    """Raise UnsafeFile for an open file that has other names, too."""
    names = os.fstat(file).st_nlink
    if names > links:
        raise _unsafe(path, f"has {names} names (hard links); remove the others")


def read_own(path: Path, most: int = -1, several: bool = False) -> bytes | None:
    """Read a file that `open_own` opens, or its first bytes; None if there is none. It may have `several` names."""
    try:
        with open(open_own(path, links=ANY if several else 1), "rb") as file:
            return file.read(most)
    except FileNotFoundError:
        return None


def check_folder(folder: Path) -> None:
    """Raise UnsafeFile for a folder in which somebody else can exchange our files.

    A folder that all may write to is good if it has the sticky bit, as /tmp has.
    """
    mode = folder.stat().st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        raise _unsafe(
            folder, "may be written to by every user, who can exchange the files in it; use a folder of its own in it"
        )


def make_private(folder: Path) -> None:
    """Make a folder and its missing parents for this user alone; existing folders keep their permissions."""
    for each in [*reversed(folder.parents), folder]:
        if not each.exists():
            each.mkdir(0o700, exist_ok=True)


def take_from_others(file: int) -> None:
    """Remove the permissions of others from an open file."""
    if stat.S_IMODE(os.fstat(file).st_mode) & 0o077:
        os.fchmod(file, 0o600)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable."""
    file = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def kind_of(mode: int) -> str:
    """Say what a file is that is no regular file."""
    return KINDS.get(stat.S_IFMT(mode), "something else")


def _check_owner(path: Path, found: os.stat_result) -> None:
    if found.st_uid not in (os.geteuid(), 0):
        raise _unsafe(path, f"belongs to user {found.st_uid}, and this process runs as {os.geteuid()}; chown it")


def _unsafe(path: Path, what: str) -> UnsafeFile:
    return UnsafeFile(f"{path} {what}")

"""Full disks: a private tmpfs for the outboxes, or a limit on the size of files."""

import ctypes
import os
import resource
import subprocess
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

TMPFS_MIB = 64
LIMIT = 128 * 1024  # bytes: logs are larger, the parts of side files are smaller
CLONE_NEWNS = 0x00020000  # linux/sched.h
BLOCK = 64 * 1024


class Tmpfs:
    """A tmpfs that only this process and its children see; OSError if that is not allowed.

    Create it before any thread, since threads that already run do not see it. SQLite overwrites an existing log even on
    a full disk, so only an outbox that must grow is affected.
    """

    name = "disk: full"
    how = f"a tmpfs of {TMPFS_MIB} MiB that is filled"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNS):
            raise OSError(ctypes.get_errno(), "this process may not have mounts of its own")
        folder.mkdir()
        for command in (["--make-rprivate", "/"], ["-t", "tmpfs", "-o", f"size={TMPFS_MIB}m", "tmpfs", str(folder)]):
            ran = subprocess.run(["mount", *command], capture_output=True, text=True)
            if ran.returncode:
                raise OSError(ran.returncode, ran.stderr.strip())
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """Write until nothing more fits."""
        with self._ballast.open("ab", buffering=0) as file:
            for size in (BLOCK, 4096):
                with suppress(OSError):
                    while file.tell() < TMPFS_MIB * 2**20:
                        file.write(b"x" * size)

    def free(self) -> None:
        """Remove the ballast."""
        self._ballast.unlink(missing_ok=True)

    def close(self) -> None:
        """Unmount it, so that its folder can be removed."""
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True)


class Limit:
    """RLIMIT_FSIZE of the publishers: a file of theirs that has reached it does not grow, as on a full disk."""

    name = "disk: no file may grow"
    how = f"a limit of {LIMIT // 1024} KiB on the size of files (RLIMIT_FSIZE)"

    def __init__(self, pids: Callable[[], Iterable[int]]) -> None:
        self._pids = pids

    def fill(self) -> None:
        """Set the limit."""
        self._set(LIMIT)

    def free(self) -> None:
        """Remove the limit."""
        self._set(None)

    def _set(self, size: int | None) -> None:
        for pid in self._pids():
            _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard if size is None else size, hard))


Disk = Tmpfs | Limit


def own_disk(wanted: str, folder: Path) -> tuple[Tmpfs | None, str]:
    """Give a tmpfs, or None and why; `wanted` is "tmpfs", "limit", or "auto" for a tmpfs where that is allowed."""
    if wanted == "limit":
        return None, "--disk limit was asked for"
    if wanted == "auto" and os.geteuid():
        return None, "only root may mount a tmpfs"
    try:
        return Tmpfs(folder), ""
    except OSError as error:
        if wanted == "tmpfs":
            raise SystemExit(f"no tmpfs can be mounted: {error}; use --disk limit") from error
        return None, f"no tmpfs can be mounted: {error}"

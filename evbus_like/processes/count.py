"""How many workers: the number that was asked for, or as many as this process has CPUs."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from evbus_like.engine.errors import SettingError
from evbus_like.engine.suggest import shown

MOST = 256
WHOLE = re.compile(r"[+-]?[0-9]{1,9}")
AUTO = "auto"
CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def count(wanted: object) -> int:
    """Return the number of workers for a number or "auto"; raises SettingError."""
    if wanted == AUTO:
        return min(MOST, cpus())
    number = wanted
    if isinstance(wanted, str) and WHOLE.fullmatch(wanted.strip()):
        number = int(wanted)
    if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= MOST:
        raise SettingError(
            f"the number of processes must be a whole number from 1 to {MOST}, or {AUTO}, not {shown(wanted)};"
            f" {AUTO} is one for each CPU, {cpus()} here"
        )
    return number


def cpus() -> int:
    """Return how many CPUs this process may use: those of its affinity, and no more than the quota of its cgroup."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(affinity, _quota(affinity)))


def _quota(most: int) -> int:
    """Return the CPU quota of this cgroup and of those around it, rounded up; `most` where there is none."""
    found = most
    with suppress(OSError, ValueError, IndexError):
        inside = next(line for line in MEMBERSHIP.read_text().splitlines() if line.startswith("0::"))[3:]
        folder = CGROUPS / inside.lstrip("/")
        for each in (folder, *folder.parents):
            if not each.is_relative_to(CGROUPS):
                break
            with suppress(FileNotFoundError):
                quota, period = (each / "cpu.max").read_text().split()
                if quota != "max":
                    found = min(found, -(-int(quota) // int(period)))
    return found

"""What a process uses of its machine, and how late its event loop is."""

from __future__ import annotations

import asyncio
import os
import resource
import time
from contextlib import suppress

from evbus_like.engine.histogram import Histogram
from evbus_like.monitor.document import Used

STARTED = time.time()
EVERY = 0.5  # seconds between two looks at the event loop


def used() -> Used:
    """Return what this process uses now; 0 where the system does not say."""
    of_cpu = resource.getrusage(resource.RUSAGE_SELF)
    resident = files = 0
    with suppress(OSError, ValueError, IndexError):  # another system than Linux
        with open("/proc/self/statm", encoding="ascii") as statm:
            resident = int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        files = len(os.listdir("/proc/self/fd"))
    return {
        "cpu_seconds": of_cpu.ru_utime + of_cpu.ru_stime,
        "resident_bytes": resident,
        "open_files": files,
        "most_files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    }


class LoopDelay:
    """Looks at the event loop while something is there to show it: how late does it run what is due?"""

    def __init__(self) -> None:
        self.delays = Histogram()
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0

    def start(self) -> None:
        """Begin, in the running loop; it may have begun already."""
        self.stop()
        loop = asyncio.get_running_loop()
        self._due = loop.time() + EVERY
        self._timer = loop.call_at(self._due, self._look)

    def stop(self) -> None:
        """End; what was counted stays."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self.delays.add(max(0.0, asyncio.get_running_loop().time() - self._due))
        self.start()

"""What every leg has in common: its configuration, its clock, and the one line that it prints.

A leg is a script of its own process, in the virtual environment of what it measures. It gets one JSON object as its
argument and prints one JSON object: `events` that were timed, `sent` in all (with those of the warm-up), `seconds`,
`cpu` seconds of the process, `peak` memory in bytes. Nothing but the standard library is imported here.
"""

from __future__ import annotations

import gzip
import json
import resource
import sys
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from time import perf_counter
from typing import Any

BURST = 1000  # events that a task puts before the others of its loop get their turn


def config() -> dict[str, Any]:
    """Give what the benchmark asks of this leg."""
    return json.loads(sys.argv[1])


def bodies(asked: dict[str, Any], count: int) -> Iterator[Any]:
    """Yield `count` bodies of the kind asked for: the small one, one of `size` bytes, or real webhooks."""
    if "size" in asked:
        return (of_size(asked["size"]) for _ in range(count))
    if asked.get("body", "small") == "small":
        return ({"message": "event content", "n": i} for i in range(count))
    lines = gzip.decompress(Path(asked["webhooks"]).read_bytes()).splitlines()
    return islice(cycle([json.loads(line)["body"] for line in lines]), count)


def of_size(size: int) -> Any:
    """Make a body of about so many bytes of JSON: a list of small objects."""
    return {"items": [{"message": "event content", "n": 12345} for _ in range(max(1, round((size - 12) / 40)))]}


def memory(field: str = "VmHWM") -> int:
    """Give the peak (or with "VmRSS" the present) resident memory of this process, in bytes.

    getrusage's figure is not used: a child begins with its parent's.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    return 0


def cpu() -> float:
    """Give the CPU seconds, user and system, that this process and its threads have used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Clock:
    """Measures from its making to `stop`, which prints the leg's line."""

    def __init__(self) -> None:
        self.cpu = cpu()
        self.start = perf_counter()

    def lap(self) -> float:
        """Give the seconds so far."""
        return perf_counter() - self.start

    def used(self) -> float:
        """Give the CPU seconds so far."""
        return cpu() - self.cpu

    def stop(self, events: int, sent: int | None = None, **more: Any) -> None:
        """Print the line: `events` arrived, as far as the leg can see."""
        seconds, used = self.lap(), self.used()
        line = {"events": events, "sent": events if sent is None else sent, "seconds": seconds, "cpu": used}
        print(json.dumps({**line, "peak": memory(), **more}), flush=True)

"""What the legs of calls have in common: a server in a process of its own, and a client that is timed.

The leg's script is started twice: as it is for the client, and with `serve` for the server, which says "ready" and
serves until its standard input ends. The clock's CPU seconds are those of both. Nothing but the standard library is
imported here.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

from measure import Clock, bodies, cpu

WARM_UP = 200
TICK = os.sysconf("SC_CLK_TCK")


@contextmanager
def serving(asked: dict[str, Any]) -> Iterator[int]:
    """Start the server and give its process id; it ends with the block."""
    command = [sys.executable, sys.argv[0], json.dumps({**asked, "serve": True})]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            if server.stdout.readline().strip() != "ready":
                raise SystemExit("the server did not start")
            yield server.pid
        finally:
            server.stdin.close()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()


def ready() -> None:
    """Say, in the server, that calls will be answered."""
    print("ready", flush=True)


async def until_told() -> None:
    """Wait, in the server, until the client has done."""
    await asyncio.to_thread(sys.stdin.read)


class Timing:
    """The times of calls that go on at once; `begin` when all is warm."""

    def __init__(self, server: int) -> None:
        self._server = server
        self.took: list[float] = []

    def begin(self) -> None:
        """Start the clock."""
        self.took.clear()
        self._before = _cpu_of(self._server)
        self._clock = Clock()

    def end(self, count: int) -> None:
        """Print the leg's line."""
        used = cpu() - self._clock.cpu + _cpu_of(self._server) - self._before
        took = sorted(self.took)
        p50, p99 = took[len(took) // 2], took[len(took) * 99 // 100]
        self._clock.stop(len(took), sent=count, p50=p50, p99=p99, cpu=used)


async def measure(asked: dict[str, Any], server: int, call: Callable[[Any], Awaitable[Any]]) -> None:
    """Call, `in_flight` calls at once, and print the leg's line; every answer must be what was sent."""
    timing = Timing(server)

    async def caller(stream: Iterator[Any]) -> None:
        for body in stream:
            start = perf_counter()
            answer = await call(body)
            timing.took.append(perf_counter() - start)
            if answer != body:
                raise SystemExit(f"{body} was answered with {answer}")

    async def call_all(count: int) -> None:
        stream = bodies(asked, count)
        await asyncio.gather(*(caller(stream) for _ in range(asked["in_flight"])))

    await call_all(WARM_UP)
    timing.begin()
    await call_all(asked["events"])
    timing.end(asked["events"])


def _cpu_of(pid: int) -> float:
    """Give the CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK

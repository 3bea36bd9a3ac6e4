"""A publisher that may be killed at any moment: `python -m tests.faults.soak.publisher SETTINGS.json`.

It puts numbered events, in order for each key, and writes the numbers of those whose put returned to a side file, which
is on the disk before the next of that key is put. Started again, it goes on with higher numbers. Once a second it
prints a report, a line of JSON; SIGTERM makes it stop its bus, print a last report and end.
"""

import asyncio
import json
import os
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from evbus_like.engine.errors import BusStopped, PutTimeout
from evbus_like.testing import new_hub, running

SKIPPED = 10  # numbers left out after a start: the last put of a key may have returned without being written down
LINE = "{} {} {} {}\n"  # profile, key, number, id


class SideFile:
    """What was put for certain: each line is on the disk when `write` returns; many share one fsync."""

    def __init__(self, path: Path) -> None:
        self._lines: list[str] = []
        self._flushing: asyncio.Task[None] | None = None
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115 - closed with the process
        self._file.write(b"\n")  # a line that a kill has torn ends here

    async def write(self, line: str) -> None:
        """Append a line and return when it cannot be lost."""
        self._lines.append(line)
        while line in self._lines:
            if self._flushing is None or self._flushing.done():
                self._flushing = asyncio.create_task(self._flush())
            await asyncio.shield(self._flushing)

    async def _flush(self) -> None:
        lines = self._lines[:]
        await asyncio.to_thread(self._append, "".join(lines).encode())
        del self._lines[: len(lines)]

    def _append(self, data: bytes) -> None:
        self._file.write(data)
        os.fsync(self._file.fileno())


def recorded(path: Path) -> dict[tuple[str, str], list[int]]:
    """Read a side file: the numbers of each profile and key; torn lines are left out."""
    numbers: dict[tuple[str, str], list[int]] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        words = line.split()
        if len(words) == 4:
            numbers.setdefault((words[0], words[1]), []).append(int(words[2]))
    return numbers


async def stream(hub: Any, settings: dict[str, Any], side: SideFile, profile: str, key: str, number: int) -> None:
    """Put one event of a key after another, at the pace of the settings."""
    while True:
        body = {"key": key, "number": number, "filler": "x" * settings["size"]}
        try:
            receipt = await hub.evbus.broker.put(key, body, profile, confirm=settings["confirm"], timeout=5.0)
        except PutTimeout:  # there is no room, and the event is nowhere: the same number comes again
            continue
        except BusStopped:
            return
        await side.write(LINE.format(profile, key, number, receipt.id))
        number += 1
        await asyncio.sleep(settings["pause"])


def report(hub: Any, account: Any = None) -> None:
    """Print how it is."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    line = {
        "account": (account or hub.evbus.init.account()).as_dict(),
        "status": hub.evbus.init.status()["destinations"],
        "rss": pages * resource.getpagesize(),
        "final": account is not None,
    }
    print(json.dumps(line), flush=True)


async def main(settings: dict[str, Any]) -> None:
    """Publish until SIGTERM comes."""
    asked = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked.set)
    path = Path(settings["side_file"])
    side, before = SideFile(path), recorded(path)
    profiles = {
        provider: {name: {**data, **settings["options"]} for name, data in given.items()}
        for provider, given in settings["profiles"].items()
    }
    hub = new_hub()
    hub.OPT = {"evbus_like": {"outbox_path": settings["outbox_path"]}}
    async with running(profiles, hub) as hub:
        streams = []
        for name in [name for given in profiles.values() for name in given]:
            for key in settings["keys"]:
                number = max(before.get((name, key), [-1 - SKIPPED])) + 1 + SKIPPED
                streams.append(asyncio.create_task(stream(hub, settings, side, name, key, number)))
        try:
            while not asked.is_set() and not any(task.done() for task in streams):
                report(hub)
                with suppress(TimeoutError):
                    async with asyncio.timeout(settings["report_every"]):
                        await asked.wait()
        finally:
            for task in streams:
                task.cancel()
            outcomes = await asyncio.gather(*streams, return_exceptions=True)
        report(hub, await hub.evbus.init.stop(60.0))
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome


if __name__ == "__main__":
    asyncio.run(main(json.loads(Path(sys.argv[1]).read_text())))

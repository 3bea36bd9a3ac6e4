"""A publisher as a child process: started, read, frozen, killed and started again."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
DEADLINE = 120.0  # seconds that a publisher may take to start, or to stop


class PublisherProcess:
    """Runs `publisher.py` with these settings; `latest` is its last report, `runs_begun` counts its starts."""

    def __init__(self, folder: Path, profiles: dict[str, Any], **settings: Any) -> None:
        self.side_file = folder / "put"
        self._settings = folder / "settings.json"
        self._log_file = folder / "publisher.log"
        defaults = {
            "profiles": profiles,
            "side_file": str(self.side_file),
            "outbox_path": str(folder / "outbox.sqlite") if "outbox" in settings.get("options", {}) else "",
            "keys": ["eu", "us", "asia", "stock"],
            "confirm": "accepted",
            "options": {},
            "size": 200,
            "pause": 0.01,
            "report_every": 1.0,
        }
        self._settings.write_text(json.dumps(defaults | settings))
        self.reports: asyncio.Queue[dict[str, Any]] = asyncio.Queue(10_000)
        self.latest: dict[str, Any] = {}
        self.runs_begun = 0
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start it, and return when it runs; raises RuntimeError if it ends instead."""
        self.runs_begun += 1
        with self._log_file.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "tests.faults.soak.publisher", str(self._settings), str(self.runs_begun)),
                cwd=ROOT,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                limit=2**20,
            )
        first = asyncio.Event()
        self.latest = {}
        self._reading = asyncio.create_task(self._read(self._process, first))
        async with asyncio.timeout(DEADLINE):
            await first.wait()
        if not self.latest:
            raise RuntimeError(f"the publisher did not start: {self.errors}")

    async def _read(self, process: asyncio.subprocess.Process, first: asyncio.Event) -> None:
        assert process.stdout
        try:
            async for line in process.stdout:
                if line.endswith(b"\n"):  # a kill may cut the last one
                    self.latest = json.loads(line)
                    self.reports.put_nowait(self.latest)
                    first.set()
        finally:
            first.set()

    @property
    def runs(self) -> bool:
        """Whether it is running."""
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process
        return self._process.pid

    def signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    async def kill(self) -> None:
        """SIGKILL it."""
        self.signal(signal.SIGKILL)
        await self._ended()

    async def stop(self) -> dict[str, Any]:
        """Stop it and give its last report; raises RuntimeError if it did not end properly."""
        self.signal(signal.SIGTERM)
        await self._ended()
        assert self._process
        if self._process.returncode or not self.latest.get("final"):
            raise RuntimeError(f"the publisher ended with {self._process.returncode}: {self.errors}")
        return self.latest

    async def _ended(self) -> None:
        assert self._process
        assert self._reading
        async with asyncio.timeout(DEADLINE):
            await self._process.wait()
            await self._reading

    async def close(self) -> None:
        """Kill it if it is still running."""
        if self.runs:
            await self.kill()

    @property
    def log(self) -> str:
        """All of its log."""
        return self._log_file.read_text(errors="replace")

    @property
    def errors(self) -> str:
        """The end of its log."""
        return self.log[-2000:]

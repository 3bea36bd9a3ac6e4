"""Runs services of the real nameko as processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from evbus_like.testing import eventually

HERE = Path(__file__).parent
HANDLED = ("ship", "any", "each", "all", "loose")


class Service:
    """A running service and its log."""

    def __init__(self, log: Path) -> None:
        self.log = log

    def bodies(self, method: str) -> list[Any]:
        """Give the bodies that a method was called with."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [body for _, name, body in map(json.loads, lines) if name == method]


@asynccontextmanager
async def running(
    python: str, url: str, folder: Path, source: str, what: str, ready: Any, instance: str = "1"
) -> AsyncIterator[Service]:
    """Run a class of nameko_services.py and stop it at the end; `ready()` says when it receives."""
    log = folder / f"{what}-{instance}.jsonl"
    own = {"INTEROP_SOURCE": source, "INTEROP_INSTANCE": instance, "INTEROP_LOG": str(log), "PYTHONWARNINGS": "ignore"}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | own
    with (folder / f"{what}-{instance}.log").open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(str(Path(python).with_name("nameko")), "run", f"nameko_services:{what}", "--broker", url),
            cwd=HERE,
            env=environment,
            stdout=output,
            stderr=output,
        )
        try:
            await eventually(lambda: process.returncode is not None or ready())
            assert process.returncode is None, (folder / f"{what}-{instance}.log").read_text()
            yield Service(log)
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(20.0):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()

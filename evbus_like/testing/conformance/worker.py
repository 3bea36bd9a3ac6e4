"""A worker process: runs a bus and its handlers until SIGTERM, and records what happens as JSON lines.

Run it as `python -m evbus_like.testing.conformance.worker FILE`. The file is JSON: `contexts` (the content of a
credentials file), `handlers` (see probe.py), `notes` (the file to write to), `timeout` (seconds a stop may take).
Exit code: 0 after a stop, 1 after a failed handler whose on_error is SHUTDOWN.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from evbus_like.engine.errors import HandlerShutdown
from evbus_like.testing.conformance import probe
from evbus_like.testing.running import new_hub, running


def main(path: str) -> int:
    """Run the worker that a file describes, and return its exit code."""
    job = json.loads(Path(path).read_text())
    os.environ["EVBUS_PROBE"] = path
    with tempfile.TemporaryDirectory() as folder:
        probe.write_app(Path(folder), {each["service"] for each in job["handlers"]})
        sys.path.append(folder)
        return asyncio.run(run(job))


async def run(job: dict[str, Any]) -> int:
    """Start, wait for a signal or the end of the handlers, and stop; every step is noted."""
    notes, code = probe.Notes(job["notes"]), 0
    stop = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, stop.set)
    hub = new_hub()
    async with running(job["contexts"], hub, job["timeout"]):
        await hub.evbus.handlers.start()
        notes.add("started")
        joining = asyncio.create_task(_note_when_ready(hub, notes))
        consumers = hub.evbus.RUNTIME.handlers.consumers
        pausing = asyncio.create_task(probe.follow_pauses(job["handlers"], consumers, notes))
        ended = asyncio.create_task(hub.evbus.handlers.ended())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait([ended, stopping], return_when=asyncio.FIRST_COMPLETED)
        if ended.done() and isinstance(ended.exception(), HandlerShutdown):
            code = 1
        for task in (joining, pausing, ended, stopping):
            task.cancel()
        status = hub.evbus.handlers.status()
        await hub.evbus.init.stop(job["timeout"])
    notes.add("stopped", status=status)
    return code


async def _note_when_ready(hub: Any, notes: probe.Notes) -> None:
    while True:
        try:
            await hub.evbus.handlers.join(60.0)
        except TimeoutError:
            continue
        notes.add("ready")
        return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

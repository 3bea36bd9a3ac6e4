"""`evbus run --reload`: start again whenever the code changes, for developing."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evbus_like.cli.errors import UsageError

CHILD = "_EVBUS_STARTED_AGAIN"  # set in the processes that are started; it is no setting
STOP_WITHIN = 60.0  # seconds, then a process that does not stop is killed


def is_child() -> bool:
    """Return whether this process is one that is started again and again."""
    return CHILD in os.environ


async def run() -> int:
    """Run the same command line in a child process until a signal; returns the child's last exit code."""
    try:
        from watchfiles import PythonFilter, awatch
    except ModuleNotFoundError:
        raise UsageError(
            "--reload needs watchfiles, which is not installed: pip install 'evbus-like[reload]'"
        ) from None
    stopping, changed = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    child = Child()
    folders = _folders()
    _say(f"starts again when code changes in {', '.join(map(str, folders))}")

    async def watch() -> None:
        async for changes in awatch(*folders, watch_filter=PythonFilter(), stop_event=stopping):
            path = min(path for _, path in changes)
            _say(f"{_short(path)} has changed")
            changed.set()

    watcher = asyncio.create_task(watch(), name="evbus_like code watcher")
    try:
        while not stopping.is_set():
            changed.clear()
            await child.start()
            await _first(child.ended(), changed.wait(), stopping.wait(), asyncio.wait([watcher]))
            if watcher.done() and not stopping.is_set():
                problem = watcher.exception()
                raise UsageError(f"code is not watched any more: {problem}; run it without --reload, or see to that")
            if child.running:
                await child.stop()
            elif not changed.is_set() and not stopping.is_set():
                _say(f"it has ended with exit code {child.code}; it starts again when code changes")
                await _first(changed.wait(), stopping.wait(), asyncio.wait([watcher]))
    finally:
        stopping.set()
        await child.stop()
        await asyncio.wait([watcher], timeout=5.0)
        watcher.cancel()
    return child.code


class Child:
    """The process that runs."""

    def __init__(self) -> None:
        self.code = 0
        self._process: asyncio.subprocess.Process | None = None

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start it."""
        command = (sys.executable, "-m", "evbus_like", *sys.argv[1:])
        self._process = await asyncio.create_subprocess_exec(*command, env={**os.environ, CHILD: "1"})

    async def ended(self) -> None:
        """Wait until it ends."""
        assert self._process is not None
        code = await self._process.wait()
        self.code = 128 - code if code < 0 else code  # as a shell gives the number of a signal

    async def stop(self) -> None:
        """Stop it, as SIGTERM does; one that does not stop is killed."""
        if not self.running:
            return
        assert self._process is not None
        self._process.terminate()
        try:
            await asyncio.wait_for(self.ended(), STOP_WITHIN)
        except TimeoutError:
            self._process.kill()
            await self.ended()


async def _first(*waits: Any) -> None:
    """Wait for the first of these, and cancel the others."""
    tasks = [asyncio.ensure_future(each) for each in waits]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _folders() -> Sequence[Path]:
    """Return the folders whose code is the application's: the current one, and those of PYTHONPATH."""
    named = [Path.cwd(), *map(Path, filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)))]
    found = [path.resolve() for path in named if path.is_dir()]
    return [path for path in dict.fromkeys(found) if not any(other in path.parents for other in found)]


def _short(path: str) -> str:
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return path


def _say(text: str) -> None:
    print(f"evbus run: {text}", file=sys.stderr, flush=True)

"""Workers for the conformance suite of sources: in processes of their own, or groups of handlers in this one."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from evbus_like.testing.conformance.probe import Notes, function

DEADLINE = 60.0  # seconds: only stops a hang


class Worker:
    """What all workers have in common: their notes."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.folder = folder
        self.path = folder / f"{name}.notes"
        self.path.touch()

    def notes(self, what: str) -> list[dict[str, Any]]:
        """Give what was noted of one kind: "begun", "done" or "failed" of events, "ready", "stopped"."""
        lines = self.path.read_bytes().split(b"\n")[:-1]  # the last may be half written
        return [note for note in map(json.loads, lines) if note["what"] == what]

    def bodies(self, what: str = "done", handler: str | None = None) -> list[Any]:
        """Give the bodies of events, in the order of the notes."""
        return [note["body"] for note in self.notes(what) if handler in (None, note["handler"])]

    async def noted(self, what: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait for so many notes of a kind, and give all that there are; raises AssertionError after a minute."""
        for _ in range(int(DEADLINE / 0.02)):
            found = self.notes(what)
            if len(found) >= count:
                return found
            assert self.alive(), f"{self.name} ended, with {len(found)} of {count} notes of {what!r}{self.output()}"
            await asyncio.sleep(0.02)
        raise AssertionError(f"{self.name} noted {len(found)} times {what!r}, not {count} times{self.output()}")

    def alive(self) -> bool:
        """Whether it may note something still."""
        return True

    def output(self) -> str:
        """Give what it printed."""
        return ""


class ProcessWorker(Worker):
    """A worker in a process of its own."""

    def __init__(self, folder: Path, name: str, contexts: Any, handlers: Sequence[Any], timeout: float) -> None:
        super().__init__(folder, name)
        told = {"contexts": contexts, "handlers": handlers, "notes": str(self.path), "timeout": timeout}
        file = folder / f"{name}.json"
        file.touch(0o600)
        file.write_text(json.dumps(told))
        self._log = folder / f"{name}.log"
        command = [sys.executable, "-m", "evbus_like.testing.conformance.worker", str(file)]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)

    async def start(self) -> None:
        """Begin; it began when it was made."""

    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process.poll() is None

    def output(self) -> str:
        """Give the end of what it printed."""
        return f"; it printed:\n{self._log.read_text(errors='replace')[-4000:]}"

    def tell(self) -> None:
        """Tell it to stop, and do not wait."""
        if self.alive():
            self.process.send_signal(signal.SIGTERM)

    async def stop(self) -> int:
        """Stop it, and give its exit code."""
        self.tell()
        return await self.ended()

    async def ended(self) -> int:
        """Wait for its end, and give its exit code."""
        try:
            return await asyncio.to_thread(self.process.wait, DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"{self.name} did not end within {DEADLINE:g} s{self.output()}") from None

    async def kill(self) -> None:
        """End it as a crash does."""
        os.kill(self.process.pid, signal.SIGKILL)
        await asyncio.to_thread(self.process.wait, DEADLINE)


class LocalWorker(Worker):
    """A group of handlers on the hub of the test, for sources that live in the process; it cannot be killed."""

    def __init__(self, folder: Path, name: str, hub: Any, handlers: Sequence[Any], timeout: float) -> None:
        super().__init__(folder, name)
        from evbus_like.engine.receiving.group import Group

        self._hub = hub
        self._specs = handlers
        self._timeout = timeout
        self._notes = Notes(str(self.path))
        self._group = Group()
        self._stopping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Subscribe."""
        from evbus_like.hub.application import binding

        made = [self._handler(spec) for spec in self._specs]
        self._group.start(await binding.consumers(self._hub, self._hub.evbus.RUNTIME.contexts, made, self._group))
        await self._group.subscribed(DEADLINE)
        self._notes.add("ready")

    def _handler(self, spec: Any) -> Any:
        from evbus_like import handlers as marks
        from evbus_like.engine.receiving.handler import Handler

        made = function(spec, self._notes)
        (options,) = getattr(made, marks.MARK)
        ref = f"handler.{spec['service']}.{spec['name']}"
        is_async = asyncio.iscoroutinefunction(made)
        return Handler(ref, spec["service"], spec["name"], partial(made, self._hub), is_async, options)

    def tell(self) -> None:
        """Begin to stop."""
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop())

    async def _stop(self) -> None:
        status = self._group.status()
        await self._group.stop(self._timeout)
        self._notes.add("stopped", status=status)

    async def stop(self) -> int:
        """Stop it, and give the exit code that a process would have."""
        self.tell()
        assert self._stopping is not None
        await self._stopping
        return 1 if self._group.reason else 0

    async def ended(self) -> int:
        """Wait for its end, and give the exit code that a process would have."""
        if self._stopping is None:
            await asyncio.wait([asyncio.ensure_future(self._group.ended())], timeout=DEADLINE)
        return await self.stop()

    async def kill(self) -> None:
        """Stop it without waiting for its handlers, which is as near to a crash as it comes."""
        await self._group.stop(0.0)

"""Workers for the source tests: separate processes, or groups of handlers in the process of the test."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from evbus_like import handlers as marks
from evbus_like.engine.receiving.group import Group
from evbus_like.engine.receiving.handler import Handler
from evbus_like.hub.application import binding
from evbus_like.testing.conformance.failing import DEADLINE, failure
from evbus_like.testing.conformance.probe import Notes, follow_pauses, function

Spec = Mapping[str, Any]  # the description of a handler, see probe.py


class Worker(ABC):
    """Runs handlers that append to a file of notes."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.folder = folder
        self.path = folder / f"{name}.notes"
        self.path.touch()

    def notes(self, kind: str) -> list[dict[str, Any]]:
        """Return the notes of a kind: "begun", "done", "failed" for events; "started", "ready", "stopped"."""
        lines = self.path.read_bytes().split(b"\n")[:-1]  # the last may be half written
        return [note for note in map(json.loads, lines) if note["what"] == kind]

    def bodies(self, kind: str = "done", handler: str | None = None) -> list[Any]:
        """Return the bodies of noted events, in the order of the notes."""
        return [note["body"] for note in self.notes(kind) if handler in (None, note["handler"])]

    async def noted(self, kind: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait for `count` notes of a kind, and return all of them; fails after a minute, or when the worker ended."""
        for _ in range(int(DEADLINE / 0.02)):
            found = self.notes(kind)
            if len(found) >= count:
                return found
            if not self.alive():
                raise failure(
                    f"{self.name} ended with {len(found)} of {count} notes {kind!r}{self.seen()}{self.output()}"
                )
            await asyncio.sleep(0.02)
        raise failure(
            f"waited {DEADLINE:g} s for {count} notes {kind!r} of {self.name}; it wrote {len(found)}"
            f"{self.seen()}{self.output()}"
        )

    def seen(self) -> str:
        """Name the events that handlers began, for a message."""
        return f"; events begun: {self.bodies('begun')[:20]!r:.500}"

    def output(self) -> str:
        """Return what the worker printed, for a message."""
        return ""

    def alive(self) -> bool:
        """Whether it may still write notes."""
        return True

    @abstractmethod
    async def start(self) -> None:
        """Start to receive."""

    @abstractmethod
    def request_stop(self) -> None:
        """Ask it to stop, and do not wait."""

    @abstractmethod
    async def ended(self) -> int:
        """Wait until it has ended, and return its exit code."""

    @abstractmethod
    async def kill(self) -> None:
        """End it as a crash does."""

    async def stop(self) -> int:
        """Stop it, and return its exit code."""
        self.request_stop()
        return await self.ended()


class ProcessWorker(Worker):
    """A worker in a separate process."""

    def __init__(
        self, folder: Path, name: str, contexts: Mapping[str, Any], handlers: Sequence[Spec], timeout: float
    ) -> None:
        super().__init__(folder, name)
        job = {"contexts": contexts, "handlers": handlers, "notes": str(self.path), "timeout": timeout}
        file = folder / f"{name}.json"
        file.touch(0o600)  # contexts hold credentials
        file.write_text(json.dumps(job))
        self._log = folder / f"{name}.log"
        command = [sys.executable, "-m", "evbus_like.testing.conformance.worker", str(file)]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)

    async def start(self) -> None:
        """Do nothing: the process was started with the object."""

    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process.poll() is None

    def output(self) -> str:
        """Return the end of what it printed."""
        return f"; it printed:\n{self._log.read_text(errors='replace')[-4000:]}"

    def request_stop(self) -> None:
        """Send SIGTERM."""
        if self.alive():
            self.process.send_signal(signal.SIGTERM)

    async def ended(self) -> int:
        """Wait until it has ended, and return its exit code."""
        try:
            return await asyncio.to_thread(self.process.wait, DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise failure(f"waited {DEADLINE:g} s for the end of {self.name}{self.seen()}{self.output()}") from None

    async def kill(self) -> None:
        """Send SIGKILL."""
        os.kill(self.process.pid, signal.SIGKILL)
        await asyncio.to_thread(self.process.wait, DEADLINE)


class LocalWorker(Worker):
    """A group of handlers on the hub of the test, for sources that live in the process; it cannot be killed."""

    def __init__(self, folder: Path, name: str, hub: Any, handlers: Sequence[Spec], timeout: float) -> None:
        super().__init__(folder, name)
        self._hub = hub
        self._specs = handlers
        self._timeout = timeout
        self._notes = Notes(str(self.path))
        self._group = Group()
        self._stopping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Subscribe."""
        made = [self._handler(spec) for spec in self._specs]
        self._group.start(await binding.consumers(self._hub, self._hub.evbus.RUNTIME.contexts, made, self._group))
        await self._group.subscribed(DEADLINE)
        self._notes.add("ready")
        self._pausing = asyncio.create_task(follow_pauses(self._specs, self._group.consumers, self._notes))

    def _handler(self, spec: Spec) -> Handler:
        made = function(spec, self._notes)
        (options,) = getattr(made, marks.MARK)
        ref = f"handler.{spec['service']}.{spec['name']}"
        is_async = inspect.iscoroutinefunction(made)
        return Handler(ref, spec["service"], spec["name"], partial(made, self._hub), is_async, options)

    def request_stop(self) -> None:
        """Begin to stop."""
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop())

    async def _stop(self) -> None:
        self._pausing.cancel()
        status = self._group.status()
        await self._group.stop(self._timeout)
        self._notes.add("stopped", status=status)

    async def ended(self) -> int:
        """Wait until it has ended, and return the exit code of a process that does the same."""
        if self._stopping is None:
            await asyncio.wait([asyncio.ensure_future(self._group.ended())], timeout=DEADLINE)
        self.request_stop()
        assert self._stopping is not None
        await self._stopping
        return 1 if self._group.reason else 0

    async def kill(self) -> None:
        """Stop it without waiting for its handlers, which is as near to a crash as it comes."""
        self._pausing.cancel()
        await self._group.stop(0.0)

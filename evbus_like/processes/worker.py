"""The side of a worker process: what its supervisor gave it, and what it tells the supervisor.

The two are connected by a socket, whose descriptor is in the environment. When it is closed, the supervisor has ended,
and so does the worker.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

log = logging.getLogger("evbus_like.processes")

VARIABLE = "EVBUS_WORKER"  # NUMBER:SOCKET:SECONDS:WAITS:SHARED, for the worker alone: children of its own do not get it
GO = b"go\n"  # what the supervisor says to a worker that waits
ALIVE_EVERY = 1.0  # seconds
PATIENCE = 5.0  # seconds that a message may take; a supervisor that is stopped takes none


class Worker:
    """This process as a worker. `number` begins at 1; a worker that replaces another has the same one.

    `shared` is the descriptor of the memory that all workers of the supervisor share (shared.py), -1 without one.
    """

    def __init__(
        self, number: int, channel: socket.socket, leave_after: float, waits: bool = False, shared: int = -1
    ) -> None:
        self.number = number
        self.shared = shared
        self._waits = waits
        self._went = threading.Event()
        self._channel = channel
        self._leave_after = leave_after  # seconds from the supervisor's end to this one's, if it is not in order
        self._lock = threading.Lock()

    def watch(self) -> None:
        """End this process, as SIGTERM does, when the supervisor ends."""
        threading.Thread(target=self._watch, name="evbus_like supervisor", daemon=True).start()

    def _watch(self) -> None:
        with suppress(OSError):
            while select.select([self._channel], [], [])[0] and self._channel.recv(len(GO)):
                self._went.set()
        log.warning("the supervisor has ended, and this worker stops")
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(self._leave_after)
        os._exit(1)

    def wait_for_turn(self) -> None:
        """Wait until the supervisor lets a new worker begin, because the one that it replaces has ended.

        It blocks, and only signals and the supervisor end it; a worker that replaces none does not wait.
        """
        self.tell("loaded")
        if self._waits:
            self._went.wait()

    def tell(self, event: str, **facts: Any) -> None:
        """Tell the supervisor something; if it does not listen, this is left out."""
        self.write(json.dumps({"event": event, **facts}, default=str) + "\n")

    def write(self, text: str) -> int:
        """Write a line of JSON, as to a text file."""
        with self._lock, suppress(OSError):
            self._channel.settimeout(PATIENCE)
            self._channel.sendall(text.encode())
        return len(text)

    def flush(self) -> None:
        """Do nothing: lines are not kept back."""

    async def tell_alive(self, facts: Callable[[], Mapping[str, Any]] = dict) -> None:
        """Tell the supervisor every second that the event loop runs, until cancelled."""
        while True:
            if select.select([], [self._channel], [], 0)[1]:
                self.tell("alive", **facts())
            await asyncio.sleep(ALIVE_EVERY)


def _found() -> Worker | None:
    """Return this process as a worker, if the environment says so; what it says is removed."""
    try:
        number, descriptor, seconds, waits, shared = os.environ.pop(VARIABLE, "").split(":")
        channel = socket.socket(fileno=int(descriptor))
        channel.set_inheritable(False)
        os.set_inheritable(int(shared), False)
    except (ValueError, OSError):
        return None
    found = Worker(int(number), channel, float(seconds), waits == "1", int(shared))
    found.watch()
    return found


THIS = _found()  # None: this process is no worker

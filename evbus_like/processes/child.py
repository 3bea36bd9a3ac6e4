"""A worker process as its supervisor sees it: it is started, tells what it does, gets signals, and ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Protocol

from evbus_like.processes.worker import GO, VARIABLE

LINE = 16 * 1024 * 1024  # bytes of the longest message
MANAGERS = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")  # the service manager listens to the supervisor alone


class Child(Protocol):
    """What a supervisor needs of a worker."""

    number: int
    pid: int
    begun: float  # time.monotonic()
    heard: float  # when it told something last, as above
    told: dict[str, Mapping[str, Any]]  # the last message of each kind

    async def tells(self, event: str, timeout: float) -> bool:
        """Wait for a message; return False if the process ends, or `timeout` seconds are over, before it comes."""

    async def ended(self) -> int:
        """Wait for its end and return the exit code, minus the number of the signal that killed it."""

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it runs."""

    def go(self) -> None:
        """Let a worker that was started to wait begin its work."""


class Process:
    """A Child that is a process of its own."""

    def __init__(self, number: int, process: asyncio.subprocess.Process, channel: socket.socket) -> None:
        self.number = number
        self.pid = process.pid
        self.begun = self.heard = time.monotonic()
        self.told: dict[str, Mapping[str, Any]] = {}
        self._process = process
        self._writer: asyncio.StreamWriter | None = None
        self._changed = asyncio.Condition()
        self._end = asyncio.create_task(self._until_ended(channel), name=f"evbus_like worker {number}")

    async def _until_ended(self, channel: socket.socket) -> int:
        listening = asyncio.create_task(self._listen(channel))
        try:
            code = await self._process.wait()
            await asyncio.wait([listening], timeout=1.0)  # a process that it forked may hold the channel
            return code
        finally:
            listening.cancel()

    async def _listen(self, channel: socket.socket) -> None:
        reader, writer = await asyncio.open_unix_connection(sock=channel, limit=LINE)
        self._writer = writer
        try:
            with suppress(OSError, ValueError):  # ValueError: a line that is too long, or no JSON
                while line := await reader.readline():
                    message = json.loads(line)
                    self.heard = time.monotonic()
                    async with self._changed:
                        self.told[message["event"]] = message
                        self._changed.notify_all()
            await self._process.wait()  # to close the channel would end the worker
        finally:
            writer.close()

    async def tells(self, event: str, timeout: float) -> bool:
        """Wait for a message, as Child says."""
        telling = asyncio.create_task(self._until_told(event))
        await asyncio.wait([telling, self._end], timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        telling.cancel()
        return event in self.told

    async def _until_told(self, event: str) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: event in self.told)

    async def ended(self) -> int:
        """Wait for its end, as Child says; what it told last is there then."""
        return await asyncio.shield(self._end)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it runs."""
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    def go(self) -> None:
        """Let it begin its work; it has told that it waits for that."""
        if self._writer is not None:
            self._writer.write(GO)


async def start(number: int, waits: bool, leave_after: float, shared: int) -> Process:
    """Start a worker: the command line of this process once more, in a process group of its own.

    So a signal that a terminal, or `timeout`, sends to a group reaches the supervisor alone, which passes it on once.
    """
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    environment = {name: value for name, value in os.environ.items() if name not in MANAGERS}
    environment[VARIABLE] = f"{number}:{theirs.fileno()}:{leave_after:g}:{int(waits)}:{shared}"
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *sys.orig_argv[1:],
            stdin=asyncio.subprocess.DEVNULL,
            env=environment,
            pass_fds=[theirs.fileno(), shared],
            process_group=0,
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return Process(number, process, ours)

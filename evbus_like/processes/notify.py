"""Tell a service manager what this process does: sd_notify(3) of systemd, over the socket that NOTIFY_SOCKET names."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from contextlib import suppress

log = logging.getLogger("evbus_like.processes")

EXTEND = 30  # seconds that a start may take longer, each time that it says so
EVERY = 10.0  # seconds between two of these, and between two lines of status


class Notifier:
    """Sends states to the service manager; without one, it does nothing. A message that cannot be sent is left out."""

    def __init__(self, address: str | None = None, watchdog: float = 0.0) -> None:
        self.watchdog = watchdog  # seconds within which the service manager wants a sign of life; 0: never
        self._address = address or ""
        self._warned = False

    @classmethod
    def of_environment(cls) -> Notifier:
        """Return the one that the environment names."""
        seconds = 0.0
        if os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid()):
            with suppress(ValueError):
                seconds = int(os.environ.get("WATCHDOG_USEC", "0")) / 1e6
        return cls(os.environ.get("NOTIFY_SOCKET"), max(0.0, seconds))

    def ready(self, status: str) -> None:
        """Tell that it is ready; also after a reload."""
        self.tell("READY=1", f"STATUS={status}")

    def starting(self, status: str) -> None:
        """Tell that it is not ready yet, so that a start may take longer than usual: a source may be down."""
        self.tell(f"EXTEND_TIMEOUT_USEC={EXTEND * 1_000_000}", f"STATUS={status}")

    def status(self, status: str) -> None:
        """Tell what it does, for people."""
        self.tell(f"STATUS={status}")

    def reloading(self) -> None:
        """Tell that it reloads; `ready` comes after it."""
        self.tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, seconds: float) -> None:
        """Tell that it stops, and how long that may take."""
        self.tell("STOPPING=1", f"EXTEND_TIMEOUT_USEC={int((seconds + EXTEND) * 1_000_000)}", "STATUS=stopping")

    async def keep_alive(self) -> None:
        """Tell the watchdog that the event loop runs, until cancelled."""
        while self.watchdog:
            self.tell("WATCHDOG=1")
            await asyncio.sleep(self.watchdog / 2)

    def tell(self, *lines: str) -> None:
        """Send a message."""
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.settimeout(1.0)
                sender.sendto("\n".join(line.replace("\n", " ") for line in lines).encode(), address)
        except OSError as error:
            if not self._warned:
                log.warning("the service manager cannot be told at NOTIFY_SOCKET=%s: %s", self._address, error)
            self._warned = True

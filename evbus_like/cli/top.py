"""`evbus top`: what running processes do, live on a terminal."""

from __future__ import annotations

import asyncio
import os
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from evbus_like.cli import common, shown, status
from evbus_like.cli.errors import UsageError
from evbus_like.cli.screen import SORTS, Seen, screen
from evbus_like.monitor import ask

EVERY = 1.0  # seconds between two looks
ENTER, LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"  # the other screen without a cursor, and back
HOME, REST = "\x1b[H", "\x1b[K"  # the first line, and nothing behind the text of a line
BELOW = "\x1b[J"


async def run(hub: Any) -> int:
    """Show it until `q` or a signal; return 0, or raise NoAnswer if nothing runs at the beginning."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("top needs a terminal for its input and output; elsewhere: evbus status --watch")
    first = status.merged(await status.looked(hub))
    async with common.signals() as stopped:
        with terminal() as descriptor:
            await Top(hub, Seen(time.monotonic(), first)).run(stopped, descriptor)
    return 0


@contextmanager
def terminal() -> Iterator[int]:
    """Read single keys without echo, on the other screen, until the block ends; yield the descriptor of the input."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    print(ENTER, end="", flush=True)
    try:
        yield descriptor
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
        print(LEAVE, end="", flush=True)


class Top:
    """Looks every second, and shows at once what a key asks for."""

    def __init__(self, hub: Any, first: Seen) -> None:
        self._hub = hub
        self._now = first
        self._before: Seen | None = None
        self._sort = "name"
        self._trouble = ""
        self._colour = "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"

    async def run(self, stopped: asyncio.Event, descriptor: int) -> None:
        """Run until `q` or a signal."""
        loop = asyncio.get_running_loop()
        loop.add_reader(descriptor, self._key, descriptor, stopped)
        try:
            while not stopped.is_set():
                self.draw()
                await common.unless_stopped(stopped, asyncio.sleep(EVERY))
                await common.unless_stopped(stopped, self._look())
        finally:
            loop.remove_reader(descriptor)

    async def _look(self) -> None:
        try:
            found = status.merged(await status.looked(self._hub))
        except ask.NoAnswer as error:  # it may be starting again
            self._trouble = shown.visible(str(error))
            return
        self._trouble = ""
        self._before, self._now = self._now, Seen(time.monotonic(), found)

    def _key(self, descriptor: int, stopped: asyncio.Event) -> None:
        for key in os.read(descriptor, 64).decode("ascii", "replace").lower() or "q":
            if key == "q":
                stopped.set()
            elif key in SORTS:
                self._sort = SORTS[key]
                self.draw()

    def draw(self) -> None:
        """Draw the screen."""
        width, height = os.get_terminal_size(sys.stdout.fileno())
        width, height = max(20, width), max(3, height)
        lines = screen(self._now, self._before, self._sort, width, height, self._colour)
        if self._trouble:
            lines[0] = f"evbus top: no answer, the last one is below: {self._trouble}"[:width]
        print(HOME + f"{REST}\r\n".join(lines) + REST + BELOW, end="", flush=True)

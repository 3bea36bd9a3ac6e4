"""A question on the terminal, before something is deleted for good."""

from __future__ import annotations

import signal
import sys

from evbus_like.cli.errors import UsageError


def agreed(what: str) -> bool:
    """Ask whether to delete something, and return the answer; raises UsageError without a terminal."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError(f"there is no terminal to ask on; to delete {what}, add --yes")
    # asyncio would handle the first Ctrl-C only after a line is read
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        print(f"Delete {what}? [y/N] ", end="", file=sys.stderr, flush=True)
        return sys.stdin.readline().strip().lower() in ("y", "yes")
    finally:
        signal.signal(signal.SIGINT, before)

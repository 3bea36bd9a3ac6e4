"""`evbus dead purge`: delete dead letters."""

from __future__ import annotations

import signal
import sys
from typing import Any

from evbus_like.cli import console, file, shown
from evbus_like.cli.dead import change, which
from evbus_like.cli.errors import UsageError

AT_ONCE = 5000  # for each transaction


async def run(hub: Any) -> int:
    """Delete dead letters after a confirmation; return 1 if one was not found or the user declined."""
    settings = hub.OPT.evbus_like
    path = file.path(hub)
    found = which.found(settings, path, "purge")
    purged, refused = 0, False
    if found.numbers:
        with file.changing(path):  # fails before the question if the outbox is locked
            refused = not (settings.yes or _agreed(found))
        if not refused:
            async with change.opened(path) as box:
                for part in change.parts(found.numbers, AT_ONCE):
                    purged += await box.purge(part)
    found.name_missing("purge")
    if settings.json:
        console.document({"purged": purged, "missing": found.missing})
    else:
        print(f"deleted {shown.many(purged, 'dead letter')}")
    return 1 if found.missing or refused else 0


def _agreed(found: which.Found) -> bool:
    """Ask on the terminal; raises UsageError without one."""
    what = f"{shown.many(len(found.numbers), 'dead letter')} for good ({found.whose()})"
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError(f"there is no terminal to ask on; to delete {what}, add --yes")
    # asyncio would handle the first Ctrl-C only after a line is read
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        print(f"Delete {what}? [y/N] ", end="", file=sys.stderr, flush=True)
        return sys.stdin.readline().strip().lower() in ("y", "yes")
    finally:
        signal.signal(signal.SIGINT, before)

"""`evbus resume`: let handlers and destinations go on that `evbus pause` has stopped."""

from __future__ import annotations

from typing import Any

from evbus_like.cli import application, pause
from evbus_like.hub import pauses


async def run(hub: Any) -> int:
    """Resume what the command line names, and list what is still paused; raises NotFound and StorageError."""
    application.load(hub)
    where = pauses.path(hub)
    names = pause.wanted(pauses.read(where), list(hub.OPT.evbus_like.paused_names), bool(hub.OPT.evbus_like.all))
    found = pauses.change(where, resume=names)
    pause.show(hub, where, found, f"resumed: {', '.join(names) or 'nothing'}")
    return 0

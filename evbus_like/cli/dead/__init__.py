"""`evbus dead`: list, show, replay and purge dead letters."""

from __future__ import annotations

from typing import Any

from evbus_like.cli import action
from evbus_like.cli.dead import ls, purge, replay, show

ACTIONS = {"ls": ls.run, "show": show.run, "replay": replay.run, "purge": purge.run}


async def run(hub: Any) -> int:
    """Run the action that the command line names."""
    return await action.run(hub, hub.OPT.evbus_like.dead_action, ACTIONS)

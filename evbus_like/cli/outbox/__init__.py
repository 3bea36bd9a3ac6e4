"""`evbus outbox`: list or send the events in the outbox."""

from __future__ import annotations

from typing import Any

from evbus_like.cli import action
from evbus_like.cli.outbox import flush, ls

ACTIONS = {"ls": ls.run, "flush": flush.run}


async def run(hub: Any) -> int:
    """Run the action that the command line names."""
    return await action.run(hub, hub.OPT.evbus_like.outbox_action, ACTIONS)

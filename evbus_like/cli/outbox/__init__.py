"""`evbus outbox`: list, send, set aside, delete or cancel the events in the outbox."""

from __future__ import annotations

from typing import Any

from evbus_like.cli import action
from evbus_like.cli.outbox import flush, ls, pending, scheduled

ACTIONS = {
    "ls": ls.run,
    "flush": flush.run,
    "set-aside": pending.set_aside,
    "discard": pending.discard,
    "scheduled": scheduled.ls,
    "cancel": scheduled.cancel,
}


async def run(hub: Any) -> int:
    """Run the action that the command line names."""
    return await action.run(hub, hub.OPT.evbus_like.outbox_action, ACTIONS)

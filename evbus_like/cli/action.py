"""Actions of a command, such as `ls` in `evbus dead ls`: pop-config has only one level of subcommands."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from evbus_like.cli.errors import UsageError
from evbus_like.engine.suggest import did_you_mean, shown


async def run(hub: Any, wanted: str | None, actions: Mapping[str, Callable[[Any], Awaitable[int]]]) -> int:
    """Run an action and return its exit code; raises UsageError for an unknown one."""
    if wanted is None:
        print(hub.args.parser.help(), file=sys.stderr)
        raise UsageError(f"name an action: {', '.join(actions)}")
    if wanted not in actions:
        raise UsageError(f"there is no action {shown(wanted)}; {did_you_mean(wanted, actions)}")
    return await actions[wanted](hub)

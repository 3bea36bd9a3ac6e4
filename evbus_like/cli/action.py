"""Actions: what a group of commands does, `ls` in `evbus dead ls`; pop-config has one level of subcommands."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from evbus_like.cli.errors import UsageError
from evbus_like.engine.suggest import did_you_mean


async def run(hub: Any, wanted: str | None, actions: Mapping[str, Callable[[Any], Awaitable[int]]]) -> int:
    """Run an action and give its exit code; raises UsageError for one that there is not."""
    if wanted is None:
        print(hub.args.parser.help(), file=sys.stderr)
        raise UsageError(f"say what to do: {', '.join(actions)}")
    if wanted not in actions:
        raise UsageError(f"there is no action {wanted!r}; {did_you_mean(wanted, actions)}")
    return await actions[wanted](hub)

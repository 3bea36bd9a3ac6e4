"""`evbus completion`: print the script with which a shell completes the command line."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from evbus_like.cli import dead, outbox

FILES = {"FILE", "PATH"}
NAMED = {"acct_file", "config", "events", "log_file"}  # files whose options have no such metavar
WORDS: dict[str, tuple[str, ...]] = {"outbox_action": (*outbox.ACTIONS,), "dead_action": (*dead.ACTIONS,)}


async def run(hub: Any) -> int:
    """Print the script of the shell that the command line names."""
    hub.args.PARSER.explain()
    print(script(hub.args.PARSER, hub.OPT.evbus_like.shell), end="")
    return 0


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return the script for a shell, made of the command's own parser."""
    import shtab

    for each in _actions(parser):
        if each.metavar in FILES or each.dest in NAMED:
            each.complete = shtab.FILE  # type: ignore[attr-defined]
        elif each.dest in WORDS:
            each.choices = WORDS[each.dest]
    made: str = shtab.complete(parser, shell)
    return made if made.endswith("\n") else f"{made}\n"


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield the options and arguments of a parser and of those of its subcommands."""
    for each in parser._actions:
        yield each
        if isinstance(each, argparse._SubParsersAction):
            for command in each.choices.values():
                yield from _actions(command)

"""Run the subcommand of a command line, and turn its result into an exit code."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from importlib import import_module
from typing import Any

from evbus_like.cli import console
from evbus_like.cli.errors import NotFound
from evbus_like.cli.parser import Parser
from evbus_like.engine.errors import EvbusError
from evbus_like.hub.secrets import redact

# Modules of this folder; only the one that runs is imported.
COMMANDS = (
    *(
        "demo",
        "pipe",
        "check",
        "explain",
        "run",
        "handlers",
        "services",
        "rpc",
        "call-handler",
        "tail",
        "events",
        "schema",
    ),
    *("outbox", "dead"),
)
UNUSABLE = 2  # exit code if nothing was started: wrong options, credentials or profiles


def run(hub: Any) -> None:
    """Read the options, run the subcommand, and exit: 0 success, 1 something failed, 2 nothing was started."""
    sys.argv[0] = "evbus"
    hub.pop.sub.add(dyne_name="config")
    hub.args.PARSER = Parser(conflict_handler="resolve")
    hub.pop.config.load(["evbus_like"], cli="evbus_like", logs=False)
    console.set_up_logging(hub)
    if hub.SUBPARSER is None:
        print(hub.args.parser.help())
        sys.exit(UNUSABLE)
    try:
        code = asyncio.run(import_module(f"evbus_like.cli.{hub.SUBPARSER.replace('-', '_')}").run(hub))
    except EvbusError as error:
        code = fail(hub, error)
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:  # the reader of the output has exited, as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)


def fail(hub: Any, error: Exception) -> int:
    """Print the error on stderr, with --json also on stdout, and return the exit code."""
    text = redact(str(error))
    print(f"evbus {hub.SUBPARSER}: {text}", file=sys.stderr)
    if hub.OPT.evbus_like.json:
        print(json.dumps({"error": text, "kind": type(error).__name__}))
    return 1 if isinstance(error, NotFound) else UNUSABLE

"""Run the subcommand of a command line, and turn its result into an exit code."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from types import ModuleType
from typing import Any, cast

from evbus_like import conf
from evbus_like.cli import console, logs, output, shown
from evbus_like.cli.errors import NotFound
from evbus_like.cli.parser import Parser
from evbus_like.engine.errors import EvbusError
from evbus_like.hub import outbox, packages
from evbus_like.hub.profiles import settings, variables
from evbus_like.hub.secrets import redact

log = logging.getLogger("evbus_like.cli")

# Modules of this folder; only the one that runs is imported.
COMMANDS = (
    *(
        "demo",
        "pipe",
        "check",
        "explain",
        "run",
        "status",
        "top",
        "pause",
        "resume",
        "handlers",
        "services",
        "rpc",
        "call-handler",
        "tail",
        "events",
        "schema",
        "plugins",
        "plan",
        "completion",
    ),
    *("outbox", "dead", "db"),
)
UNUSABLE = 2  # exit code if nothing was started: wrong options, settings, credentials or profiles
PIP = "pip._internal.operations.freeze"  # the part that pop-config imports


def run(hub: Any) -> None:
    """Read the options, run the subcommand, and exit: 0 success, 1 something failed, 2 nothing was started."""
    output.begin()
    sys.argv[0] = "evbus"
    finish(lambda: _run(hub))


def finish(work: Callable[[], int]) -> None:
    """Do the work of the command and exit with its code; an error is one line on stderr, and a document with --json."""
    try:
        code = work()
    except EvbusError as error:
        code = fail(error)
    except KeyboardInterrupt:
        code = 130
    except SystemExit as end:  # --help, --version
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception as error:
        log.debug("the error", exc_info=True)
        hint = "" if isinstance(error, OSError) else "; --log-level debug shows where"
        code = fail(error, f"{type(error).__name__}: {error}{hint}", 1)
    sys.exit(output.ended(code, _name()))


def _run(hub: Any) -> int:
    parser = _loaded(hub)
    hub.evbus.RUNTIME.settings_file = parser.settings_file
    settings.check(hub, conf.CONFIG)
    logs.set_up(hub, console.stderr)
    for text in variables.unread(os.environ) if hub.SUBPARSER != "check" else ():
        log.warning("%s", text)
    if hub.SUBPARSER is None:
        print(hub.args.parser.help())
        return UNUSABLE
    command = import_module(f"evbus_like.cli.{hub.SUBPARSER.replace('-', '_')}")
    with outbox.named(hub):
        return int(asyncio.run(command.run(hub)))


def parser() -> Parser:
    """Return the parser of the command, with all subcommands; for tools."""
    import pop.hub

    sys.argv = ["evbus", COMMANDS[0]]
    made = _loaded(pop.hub.Hub())
    made.explain()
    return made


def _loaded(hub: Any) -> Parser:
    """Read the settings and the command line, and return its parser."""
    with _no_pip():
        hub.pop.sub.add(dyne_name="config")
    made = hub.args.PARSER = Parser(conflict_handler="resolve")
    with packages.blamed():
        hub.pop.config.load(["evbus_like"], cli="evbus_like", logs=False)
    return made


@contextlib.contextmanager
def _no_pip() -> Iterator[None]:
    """Keep pop-config from importing pip, half the time of a start; --versions-report runs it as a command instead."""
    if PIP in sys.modules:
        yield
        return
    sys.modules[PIP] = cast("ModuleType", None)  # an import fails as if there were no pip
    try:
        yield
    finally:
        del sys.modules[PIP]


def _name() -> str:
    return " ".join(["evbus", *[each for each in sys.argv[1:] if each in COMMANDS][:1]])


def fail(error: Exception, text: str = "", code: int = UNUSABLE) -> int:
    """Print the error on stderr, with --json also on stdout, and return the exit code."""
    text = shown.visible(redact(text or str(error)), "\n\t")
    print(f"{_name()}: {text}", file=sys.stderr)
    if "--json" in sys.argv:
        print(json.dumps({"error": text, "kind": type(error).__name__}), file=output.results())
    return 1 if isinstance(error, NotFound) else code

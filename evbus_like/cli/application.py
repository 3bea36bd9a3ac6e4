"""The application that a command works for: the packages whose handlers pop merges, with their settings and dynes."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from evbus_like.bridge import handlers
from evbus_like.bridge.suggest import did_you_mean
from evbus_like.cli.parser import Parser
from evbus_like.cli.wrong import UsageError
from evbus_like.engine.consuming.handler import Handler
from evbus_like.engine.errors import HandlerError

# Those that want the packages of the current folder.
COMMANDS = ("run", "handlers", "call-handler", "tail", "events", "schema")
OURS = "evbus_like"


def look_here(arguments: Sequence[str]) -> None:
    """Let pop find packages in the current folder, as `python -m` would; a console script does not have it on its path.

    Only for commands that need an application: pop runs the conf.py of every folder that it looks into.
    """
    here = os.getcwd()
    if any(each in COMMANDS for each in arguments) and not {"", here} & set(sys.path):
        sys.path.insert(0, here)


def load(hub: Any) -> None:
    """Put the applications on the hub: settings (hub.OPT.shop), own dyne (hub.shop), and then the handlers.

    `--app` names them; otherwise it is every package that has handlers. Raises UsageError for one that is not there.
    """
    hub.pop.sub.add(dyne_name="evbus")
    found = _packages(hub)
    wanted = list(hub.OPT.evbus_like.app or found)
    for name in wanted:
        if name not in found:
            raise UsageError(f"there is no application {name!r} with handlers; {did_you_mean(name, found)}\n{places()}")
    if wanted:
        hub._dynamic["handler"]["paths"] = [path for name in wanted for path in found[name]]
        _settings(hub, wanted)
    for name in wanted:
        if name in hub._dynamic and name not in hub._subs:
            hub.pop.sub.add(dyne_name=name)


def select(hub: Any) -> list[Handler]:
    """Give the handlers that --only and --skip leave; raises HandlerError, also where there is none."""
    check(hub)
    return handlers.found(hub, hub.OPT.evbus_like.only, hub.OPT.evbus_like.skip)


def check(hub: Any) -> None:
    """Raise HandlerError or UsageError where there is no handler, or --only and --skip leave none."""
    settings = hub.OPT.evbus_like
    handlers.load(hub)
    everything = handlers.names(hub)
    if not everything and not hub.evbus.BROKEN["handler"]:
        raise HandlerError(
            "no handler was found: mark functions with evbus_like.handlers.handler, in files of a folder that the"
            f' conf.py of a package names, DYNE = {{"handler": ["handler"]}}\n{places()}'
        )
    _must_match(everything, "--only", settings.only)
    _must_match(everything, "--skip", settings.skip)
    chosen = [each for each in everything if not settings.only or _fits(each, settings.only)]
    if everything and all(_fits(each, settings.skip) for each in chosen):
        raise UsageError(f"--only and --skip leave no handler; there are {_listed(everything)}")


def places() -> str:
    """Say where packages are looked for."""
    python = (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), sysconfig.get_path("scripts"))
    folders = dict.fromkeys(os.path.abspath(path) for path in sys.path if os.path.isdir(path or "."))
    shows = [path for path in folders if not path.startswith(python) or path.endswith("-packages")]
    return f"Packages are looked for in {', '.join(shows)}; PYTHONPATH adds folders"


def _must_match(everything: Sequence[tuple[str, str]], option: str, patterns: Iterable[str]) -> None:
    for pattern in patterns:
        if everything and not any(_fits(each, [pattern]) for each in everything):
            raise UsageError(f"{option} {pattern!r} matches no handler; there are {_listed(everything)}")


def _listed(names: Iterable[tuple[str, str]]) -> str:
    return ", ".join(".".join(each) for each in names)


def _fits(handler: tuple[str, str], patterns: Collection[str]) -> bool:
    return handlers.among(*handler, patterns)


def _packages(hub: Any) -> dict[str, list[str]]:
    """Give the packages that have handlers, with the folders of these."""
    found: dict[str, list[str]] = {}
    for folder in hub._dynamic.get("handler", {}).get("paths", ()):
        parents = [Path(os.path.abspath(path)) for path in sys.path]
        package = next((each for each in Path(folder).parents if each.parent in parents), Path(folder).parent)
        if package.name != OURS:
            found.setdefault(package.name, []).append(folder)
    return found


def _settings(hub: Any, names: Sequence[str]) -> None:
    """Read the configuration again, with that of the applications: their settings, and their defaults of ours."""
    hub.args.PARSER, hub.args.SUBPARSER, hub.args.SUBPARSERS = Parser(conflict_handler="resolve"), None, {}
    hub.pop.config.load([OURS, *names], cli=OURS, logs=False)

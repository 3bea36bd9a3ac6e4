"""The application that a command works for: the packages whose handlers and services pop merges, and their settings."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evbus_like.bridge import answers, handlers, services
from evbus_like.bridge.suggest import did_you_mean
from evbus_like.cli.parser import Parser
from evbus_like.cli.wrong import UsageError
from evbus_like.engine.consuming.handler import Handler
from evbus_like.engine.errors import HandlerError
from evbus_like.engine.rpc.method import Method

# Those that want the packages of the current folder.
COMMANDS = ("run", "handlers", "services", "call-handler", "tail", "events", "schema")
OURS = "evbus_like"
SERVING = ("handler", "service")  # the dynes that make a package an application
DYNES = (*SERVING, "middleware")
HANDLERS = (
    "mark functions with evbus_like.handlers.handler, in files of a folder that the conf.py of a package names,"
    ' DYNE = {"handler": ["handler"]}'
)
SERVICES = 'put functions into files of a folder that the conf.py of a package names, DYNE = {"service": ["service"]}'

Names = list[tuple[str, str]]  # of what is served: the service, and the handler or method


def look_here(arguments: Sequence[str]) -> None:
    """Let pop find packages in the current folder, as `python -m` would; a console script does not have it on its path.

    Only for commands that need an application: pop runs the conf.py of every folder that it looks into.
    """
    here = os.getcwd()
    if any(each in COMMANDS for each in arguments) and not {"", here} & set(sys.path):
        sys.path.insert(0, here)


def load(hub: Any) -> None:
    """Put the applications on the hub: settings (hub.OPT.shop), own dyne (hub.shop), and then what they serve.

    `--app` names them; otherwise it is every package that has handlers or services. Raises UsageError for one that is
    not there.
    """
    hub.pop.sub.add(dyne_name="evbus")
    found = _packages(hub)
    wanted = list(hub.OPT.evbus_like.app or found)
    for name in wanted:
        if name not in found:
            raise UsageError(
                f"there is no application {name!r} with handlers or services; {did_you_mean(name, found)}\n{places()}"
            )
    if wanted:
        for dyne in DYNES:
            hub._dynamic[dyne]["paths"] = [path for name in wanted for path in found[name].get(dyne, ())]
        _settings(hub, wanted)
    for name in wanted:
        if name in hub._dynamic and name not in hub._subs:
            hub.pop.sub.add(dyne_name=name)


def handlers_of(hub: Any) -> tuple[list[Handler], list[answers.Marked]]:
    """Give the handlers that --only and --skip leave, of events and of answers; raises HandlerError.

    It does so, too, where there is none.
    """
    only, skip = hub.OPT.evbus_like.only, hub.OPT.evbus_like.skip
    _choose(_handlers(hub), hub.OPT.evbus_like, "handler", HANDLERS)
    return handlers.found(hub, only, skip), answers.found(hub, only, skip)


def services_of(hub: Any) -> dict[str, tuple[Any, dict[str, Method]]]:
    """Give the services that --only and --skip leave; raises HandlerError, also where there is none."""
    settings = hub.OPT.evbus_like
    _choose(_methods(hub), settings, "service", SERVICES)
    return services.found(hub, settings.only, settings.skip)


def select(hub: Any) -> None:
    """See that --only and --skip leave something to run; raises HandlerError that names what cannot be used."""
    everything = [*_handlers(hub), *_methods(hub)]
    _choose(everything, hub.OPT.evbus_like, "handler or service", f"{HANDLERS}; or {SERVICES}")


def _handlers(hub: Any) -> Names:
    handlers.load(hub)
    both = [*handlers.found(hub), *(each.handler for each in answers.found(hub))]
    return [(each.service, each.name) for each in both]


def _methods(hub: Any) -> Names:
    return [(service, each) for service, (_, methods) in services.found(hub).items() for each in methods]


def _choose(everything: Names, settings: Any, what: str, how: str) -> None:
    """Raise where there is nothing, where a pattern matches nothing, or where they leave nothing."""
    if not everything:
        raise HandlerError(f"no {what} was found: {how}\n{places()}")
    there = ", ".join(dict.fromkeys(f"{service}.{name}" for service, name in everything))
    for option, patterns in (("--only", settings.only), ("--skip", settings.skip)):
        for pattern in patterns:
            if not any(handlers.among(*each, [pattern]) for each in everything):
                raise UsageError(f"{option} {pattern!r} matches no {what}; there are {there}")
    only, skip = settings.only, settings.skip
    if not any((not only or handlers.among(*each, only)) and not handlers.among(*each, skip) for each in everything):
        raise UsageError(f"--only and --skip leave no {what}; there are {there}")


def places() -> str:
    """Say where packages are looked for."""
    python = (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), sysconfig.get_path("scripts"))
    folders = dict.fromkeys(os.path.abspath(path) for path in sys.path if os.path.isdir(path or "."))
    shows = [path for path in folders if not path.startswith(python) or path.endswith("-packages")]
    return f"Packages are looked for in {', '.join(shows)}; PYTHONPATH adds folders"


def _packages(hub: Any) -> dict[str, dict[str, list[str]]]:
    """Give the packages that have handlers or services, each with its folders by dyne."""
    found: dict[str, dict[str, list[str]]] = {}
    parents = {Path(os.path.abspath(path)) for path in sys.path}
    for dyne in DYNES:
        for folder in hub._dynamic.get(dyne, {}).get("paths", ()):
            package = next((each for each in Path(folder).parents if each.parent in parents), Path(folder).parent)
            if package.name != OURS:
                found.setdefault(package.name, {}).setdefault(dyne, []).append(folder)
    return {name: folders for name, folders in found.items() if set(SERVING) & set(folders)}


def _settings(hub: Any, names: Sequence[str]) -> None:
    """Read the configuration again, with that of the applications: their settings, and their defaults of ours."""
    hub.args.PARSER, hub.args.SUBPARSER, hub.args.SUBPARSERS = Parser(conflict_handler="resolve"), None, {}
    hub.pop.config.load([OURS, *names], cli=OURS, logs=False)

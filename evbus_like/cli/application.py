"""The applications that a command works with: packages with handlers or services, and their settings."""

from __future__ import annotations

import logging
import os
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evbus_like.cli.errors import UsageError
from evbus_like.cli.parser import Parser
from evbus_like.engine.errors import HandlerError
from evbus_like.engine.receiving.handler import Handler
from evbus_like.engine.rpc.service import Method
from evbus_like.engine.suggest import did_you_mean, shown
from evbus_like.hub import packages, plugins
from evbus_like.hub.application import handlers, responses, services

log = logging.getLogger("evbus_like.cli")

OURS = "evbus_like"
SERVING = ("handler", "service")  # the dynes that make a package an application
DYNES = (*SERVING, "middleware", "lifespan")
HANDLERS = (
    "mark functions with evbus_like.handlers.handler, in a folder that a package's conf.py names,"
    ' DYNE = {"handler": ["handler"]}'
)
SERVICES = 'write functions in a folder that a package\'s conf.py names, DYNE = {"service": ["service"]}'

Names = list[tuple[str, str]]  # (service, handler or method)


def look_here() -> None:
    """Put the current folder on sys.path, as `python -m` does and a console script does not: for its plugins."""
    try:
        here = os.getcwd()
    except OSError:  # the folder was removed
        return
    if not {"", here} & set(sys.path):
        sys.path.insert(0, here)


def load(hub: Any) -> None:
    """Put the applications on the hub: their settings (hub.OPT.shop), their own dynes (hub.shop), their plugins.

    `--app` names them; by default, every package with handlers or services. Raises UsageError for an unknown one, and
    HandlerError for a conf.py that is wrong.
    """
    hub.pop.sub.add(dyne_name="evbus")
    for problem in packages.check():
        log.warning("%s", problem)
    found = _packages(hub)
    wanted = list(hub.OPT.evbus_like.app or found)
    for name in wanted:
        if name not in found:
            raise UsageError(
                f"there is no application {shown(name)} with handlers or services;"
                f" {did_you_mean(name, found)}\n{places()}"
            )
    if wanted:
        for dyne in DYNES:
            hub._dynamic[dyne]["paths"] = [path for name in wanted for path in found[name].get(dyne, ())]
        _settings(hub, wanted)
    for name in wanted:
        if name in hub._dynamic and name not in hub._subs:
            plugins.add(hub, name)


def handlers_of(hub: Any) -> tuple[list[Handler], list[responses.Marked]]:
    """Return the handlers of events and of answers that --only and --skip leave; raises HandlerError, also for none."""
    only, skip = hub.OPT.evbus_like.only, hub.OPT.evbus_like.skip
    handlers.load(hub)
    _choose(_handlers(hub), hub, ("handler",), "handler", HANDLERS)
    made, wrong = handlers.looked_up(hub, only, skip)
    of_answers, mistaken = responses.looked_up(hub, only, skip)
    handlers.refuse([*wrong, *mistaken])
    return made, of_answers


def services_of(hub: Any) -> dict[str, tuple[Any, dict[str, Method]]]:
    """Return the services that --only and --skip leave; raises HandlerError, also for none."""
    settings = hub.OPT.evbus_like
    services.load(hub)
    _choose(services.names(hub), hub, ("service",), "service", SERVICES)
    return services.found(hub, settings.only, settings.skip)


def check(hub: Any) -> None:
    """Raise HandlerError if there is nothing to run, UsageError if --only and --skip leave nothing."""
    handlers.load(hub)
    services.load(hub)
    everything = [*_handlers(hub), *services.names(hub)]
    _choose(everything, hub, SERVING, "handler or service", f"{HANDLERS}; or {SERVICES}")


def _handlers(hub: Any) -> Names:
    return [*handlers.names(hub), *responses.names(hub)]


def _choose(everything: Names, hub: Any, dynes: Sequence[str], what: str, how: str) -> None:
    """Raise if there is nothing, if a pattern matches nothing, or if the patterns leave nothing."""
    if not everything:
        if any(hub.evbus.RUNTIME.broken[dyne] for dyne in dynes):  # the look-up reports the reason
            return
        raise HandlerError(f"no {what} was found: {how}\n{places()}")
    there = ", ".join(dict.fromkeys(".".join(each) for each in everything))
    only, skip = hub.OPT.evbus_like.only, hub.OPT.evbus_like.skip
    for option, patterns in (("--only", only), ("--skip", skip)):
        for pattern in patterns:
            if not any(handlers.among(*each, [pattern]) for each in everything):
                raise UsageError(f"{option} {shown(pattern)} matches no {what}; there are {there}")
    if not any((not only or handlers.among(*each, only)) and not handlers.among(*each, skip) for each in everything):
        raise UsageError(f"--only and --skip leave no {what}; there are {there}")


def places() -> str:
    """Return a sentence that names the folders which are searched for packages."""
    python = (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), sysconfig.get_path("scripts"))
    folders = dict.fromkeys(os.path.abspath(path) for path in sys.path if os.path.isdir(path or "."))
    shows = [path for path in folders if not path.startswith(python) or path.endswith("-packages")]
    return f"Packages are searched in {', '.join(shows)}; PYTHONPATH adds folders"


def _packages(hub: Any) -> dict[str, dict[str, list[str]]]:
    """Return the packages with handlers or services, each with its folders by dyne."""
    found: dict[str, dict[str, list[str]]] = {}
    parents = {Path(os.path.abspath(path)) for path in sys.path}
    for dyne in DYNES:
        for folder in hub._dynamic.get(dyne, {}).get("paths", ()):
            package = next((each for each in Path(folder).parents if each.parent in parents), Path(folder).parent)
            if package.name != OURS:
                found.setdefault(package.name, {}).setdefault(dyne, []).append(folder)
    return {name: folders for name, folders in found.items() if set(SERVING) & set(folders)}


def _settings(hub: Any, names: Sequence[str]) -> None:
    """Read the configuration again, with the settings of the applications and their defaults for ours."""
    hub.args.PARSER, hub.args.SUBPARSER, hub.args.SUBPARSERS = Parser(conflict_handler="resolve"), None, {}
    with packages.blamed():
        hub.pop.config.load([OURS, *names], cli=OURS, logs=False)

"""`evbus pause`: stop handlers and destinations, or list what is stopped; `evbus resume` ends that."""

from __future__ import annotations

import time
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from evbus_like.cli import application, common, console, shown
from evbus_like.cli.errors import NotFound
from evbus_like.engine.errors import HandlerError
from evbus_like.engine.suggest import did_you_mean
from evbus_like.hub import outbox_place, pauses, plugins
from evbus_like.hub.application import handlers
from evbus_like.hub.profiles import plan


async def run(hub: Any) -> int:
    """Pause what the command line names, and list all that is paused; raises NotFound and StorageError."""
    application.load(hub)
    where, names = pauses.path(hub), list(hub.OPT.evbus_like.paused_names)
    if names:
        await _check(hub, names)
        found = pauses.change(where, pause=names, reason=hub.OPT.evbus_like.reason or "")
    else:
        found = pauses.read(where)
    show(hub, where, found, f"paused: {', '.join(names)}" if names else "")
    return 0


async def _check(hub: Any, names: list[str]) -> None:
    """Raise NotFound for a name that is no handler and no destination of this application."""
    handlers.load(hub)
    known = {f"{service}.{name}": service for service, name in handlers.names(hub)}
    lanes: set[str] | None = None
    if hub.OPT.evbus_like.acct_file:
        lanes = {item.name for item in plan.plan(hub, await common.contexts(hub))}
    providers = {each for plugin in plugins.loaded(hub, "ingress").values() for each in getattr(plugin, "ACCT", ())}
    for name in names:
        paused = {name: {"since": 0.0, "reason": ""}}
        if ":" in name:
            if lanes is not None and not any(pauses.why(paused, lane) for lane in lanes):
                raise NotFound(f"there is no destination {name!r}; {did_you_mean(name, lanes)}")
            provider = name.partition(":")[0]
            if lanes is None and not any(fnmatchcase(each, provider) for each in providers):
                hint = did_you_mean(provider, providers)
                raise NotFound(f"there is no provider {provider!r} for the destination {name!r}; {hint}")
        elif not any(pauses.why(paused, each, service) for each, service in known.items()):
            hint = did_you_mean(name, known) if known else f"there are no handlers here: {application.HANDLERS}"
            raise NotFound(f"there is no handler {name!r} (a destination is PROVIDER:PROFILE); {hint}")


def show(hub: Any, where: Path, found: Mapping[str, Mapping[str, Any]], done: str) -> None:
    """Print what is paused, and what was done."""
    name = outbox_place.application(hub)
    rows = [{"name": each, **facts} for each, facts in sorted(found.items())]
    if hub.OPT.evbus_like.json:
        console.document({"application": name, "file": str(where), "paused": rows})
        return
    if done:
        print(f"{done}; processes of {name} that run on this machine follow within two seconds")
    cells = [(each["name"], _time(each["since"]), each["reason"]) for each in rows]
    if cells:
        console.table(f"{shown.many(len(cells), 'name')} of {name} paused", ("name", "since", "reason"), cells)
    else:
        print(f"nothing of {name} is paused")


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def wanted(found: Mapping[str, Any], names: list[str], every: bool) -> list[str]:
    """Return the names that are to be resumed; raises NotFound for one that is not paused, HandlerError for none."""
    if every:
        return list(found)
    if not names:
        raise HandlerError("name what to resume, or say --all; `evbus pause` lists what is paused")
    for name in names:
        if name not in found:
            raise NotFound(f"{name!r} is not paused; {did_you_mean(name, found)}")
    return names

"""`evbus check`: connect to the destination of every profile."""

from __future__ import annotations

import asyncio
from typing import Any

from evbus_like.cli import common, console, shown
from evbus_like.engine.rpc import directory
from evbus_like.hub.profiles import credentials, plan
from evbus_like.hub.profiles.destination import probe
from evbus_like.hub.profiles.sources import Sources
from evbus_like.hub.secrets import redact

AT_ONCE = 20


async def run(hub: Any) -> int:
    """Open, ping and close every destination, and print the results."""
    settings = hub.OPT.evbus_like
    data = await common.read_credentials(hub)
    given = await hub.evbus.acct.profiles(acct_data=data)
    planned = plan.plan(hub, given)
    gate = asyncio.Semaphore(AT_ONCE)
    with console.Progress("check") as progress:
        progress.show(shown.many(len(planned), "profile"))
        answers = await asyncio.gather(*(_check(item, float(settings.timeout), gate) for item in planned))
    rows = [
        {"profile": item.name, "plugin": item.plugin, "ok": not problem, "problem": problem}
        for item, problem in zip(planned, answers, strict=True)
    ]
    rows += _sources(hub, given, {row["profile"] for row in rows})
    rows += _services(settings.services_file, {name for item in planned for name in (item.profile, item.name)})
    for provider in [str(p) for p in data if p not in given and p not in credentials.NOT_PROVIDERS]:
        rows.append(
            {"profile": provider, "plugin": "", "ok": False, "problem": "no ingress plugin takes this provider"}
        )
    if settings.json:
        console.document(rows)
    else:
        console.table(
            shown.many(len(rows), "profile"),
            ("profile", "plugin", "result"),
            [(row["profile"], row["plugin"], "ok" if row["ok"] else row["problem"]) for row in rows],
        )
        if not rows:
            print("no profile of the credentials belongs to an ingress plugin, so no event would be delivered")
    return 0 if rows and all(row["ok"] for row in rows) else 1


def _sources(hub: Any, given: Any, known: set[Any]) -> list[dict[str, Any]]:
    """Return rows for profiles that only handlers and services use, and for wrong ones; connects to nothing."""
    return [
        {"profile": name, "plugin": name.partition(":")[0], "ok": not problem, "problem": problem}
        for name, problem in Sources(hub, given).problems().items()
        if name not in known
    ]


def _services(path: str | None, known: set[str]) -> list[dict[str, Any]]:
    """Return a row for each profile that the services file names and that does not exist; raises HandlerError."""
    routes = directory.load(path) if path else {}
    return [
        {"profile": to.profile, "plugin": "", "ok": False, "problem": f"unknown; the service {name} in {path} needs it"}
        for name, to in routes.items()
        if to.profile and to.profile not in known
    ]


async def _check(item: plan.Planned, timeout: float, gate: asyncio.Semaphore) -> str:
    """Return what is wrong with one profile, or an empty string."""
    if item.problem or item.destination is None:
        return item.problem
    try:
        async with gate, asyncio.timeout(timeout):
            await probe(item.destination)
    except TimeoutError:
        return f"no answer within {timeout:g} s"
    except Exception as error:
        return redact(str(error) or type(error).__name__, item.destination.secrets)
    return ""

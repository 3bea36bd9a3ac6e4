"""`evbus check`: find what is wrong with profiles, handlers and services, without sending or receiving an event."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from evbus_like.cli import application, common, console, file, receivers, shown
from evbus_like.engine.errors import EvbusError
from evbus_like.engine.outbox.inspect import summarize
from evbus_like.hub import monitoring, outbox, postgres
from evbus_like.hub.application import rpc_clients
from evbus_like.hub.profiles import credentials, plan, variables
from evbus_like.hub.profiles.destination import probe
from evbus_like.hub.profiles.sources import Sources
from evbus_like.hub.secrets import redact

AT_ONCE = 20
COLUMNS = ("part", "profile", "plugin", "result")


class Row(NamedTuple):
    """One thing that was checked: what is wrong with it, or an empty string, and what to think about."""

    part: str
    profile: str = ""
    plugin: str = ""
    problem: str = ""
    advice: Sequence[str] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {**self._asdict(), "ok": not self.problem, "advice": list(self.advice)}


async def run(hub: Any) -> int:
    """Check everything and print the results; return 0 if nothing is wrong."""
    data = await common.read_credentials(hub)
    given = await hub.evbus.acct.profiles(acct_data=data)
    application.load(hub)
    settings = hub.OPT.evbus_like
    planned = plan.plan(hub, given)
    timeout, gate = float(settings.timeout), asyncio.Semaphore(AT_ONCE)
    rows = [Row("profile", str(each), "", "no ingress plugin takes this provider") for each in _not_taken(data, given)]
    rows += [Row("environment", problem=text) for text in variables.unread(os.environ)]
    rows += await _databases(hub, given, timeout)
    rows += [*_services(hub, planned), *_outbox(hub, planned), *_callback(hub), *_http(hub)]
    found, wrong = receivers.found(hub, given, settings.only, settings.skip)
    rows += [Row(part, problem=text) for part, text in wrong]
    with console.Progress("check") as progress:
        progress.show(f"{shown.many(len(planned), 'profile')}, {shown.many(len(found), 'handler and service')}")
        asked = [_profile(item, timeout, gate) for item in planned]
        serializers = {item.name: item.serializer for item in planned}
        asked += [_receiver(hub, each, serializers.get(each.source.name, ""), timeout, gate) for each in found]
        answers = await asyncio.gather(*asked)
    rows = [*answers[: len(planned)], *_sources(hub, given, {item.name for item in planned}), *rows]
    rows += answers[len(planned) :]
    if settings.json:
        console.document([row.as_dict() for row in rows])
    else:
        _show(rows)
    return 0 if planned and not any(row.problem for row in rows) else 1


def _show(rows: Sequence[Row]) -> None:
    cells = [(row.part, row.profile, row.plugin, row.problem or "ok") for row in rows]
    console.table(f"{shown.many(len(rows), 'thing')} checked", COLUMNS, cells)
    if not any(row.part == "profile" for row in rows):
        print("no profile of the credentials belongs to an ingress plugin, so no event would be delivered")
    for row in rows:
        for text in row.advice:
            print(f"advice: {' '.join(filter(None, (row.part, row.profile)))}: {shown.visible(text)}")


def _not_taken(data: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    return [str(each) for each in data if each not in given and each not in credentials.NOT_PROVIDERS]


def _sources(hub: Any, given: Any, known: set[str]) -> Iterator[Row]:
    """Yield rows for profiles that only handlers and services use, and for wrong ones; connects to nothing."""
    for name, problem in Sources(hub, given).problems().items():
        if name not in known:
            yield Row("profile", name, name.partition(":")[0], problem)


def _services(hub: Any, planned: Sequence[plan.Planned]) -> Iterator[Row]:
    """Yield a row for each profile that the services file names and that does not exist; raises HandlerError."""
    known = {name for item in planned for name in (item.profile, item.name)}
    for name, to in (rpc_clients.services_file(hub) or {}).items():
        if to.profile and to.profile not in known:
            path = hub.OPT.evbus_like.services_file
            yield Row("services file", to.profile, problem=f"unknown; the service {name} in {path} needs it")


def _outbox(hub: Any, planned: Sequence[plan.Planned]) -> Iterator[Row]:
    """Yield a row for the outbox, if one is needed: whether it can be read, or made."""
    options = [item.options for item in planned if item.options is not None]
    if outbox.configured(hub) is None and not any(each.durable or each.when_full == "spill" for each in options):
        return
    try:
        path = file.path(hub)
        with outbox.named(hub):
            if file.there(path):
                with file.reading(path):
                    summarize(path)
        folder = next(each for each in path.parents if each.exists())
        problem = f"{folder} cannot be written; {path} would be in it{outbox.origin(hub)}"
        problem = "" if os.access(folder, os.W_OK | os.X_OK) else problem
    except EvbusError as error:
        problem = str(error)
    yield Row("outbox", problem=problem)


async def _databases(hub: Any, given: Mapping[str, Any], timeout: float) -> list[Row]:
    """Return a row for each database of the application: its profile, and its tables."""
    rows = []
    for provider, name, data in plan.pairs(given):
        if provider != plan.DATABASES:
            continue
        problem = ""
        try:
            (database,) = postgres.of_contexts(hub, {provider: {name: data}})
            from evbus_like.postgres import look  # it imports psycopg

            database.timeout = min(database.timeout, timeout)
            problem = "; ".join(await asyncio.to_thread(look.check, database))
        except EvbusError as error:
            problem = redact(str(error)).removeprefix("profile ").removeprefix(f"{provider}:{name}: ")
        rows.append(Row("profile", f"{provider}:{name}", provider, problem))
    return rows


def _callback(hub: Any) -> Iterator[Row]:
    if ref := hub.OPT.evbus_like.error_callback_ref:
        try:
            hub[ref]
        except Exception:
            text = f"there is no function {ref} on the hub yet, so failures are only logged unless the program adds it"
            yield Row("error_callback_ref", advice=[text])


def _http(hub: Any) -> Iterator[Row]:
    """Yield a row for the HTTP port, if there is to be one: its address and its token; it is not opened."""
    if not hub.OPT.evbus_like.http:
        return
    try:
        monitoring.access(hub, None, None, None)
        problem = ""
    except EvbusError as error:
        problem = str(error)
    yield Row("HTTP port", problem=problem)


async def _profile(item: plan.Planned, timeout: float, gate: asyncio.Semaphore) -> Row:
    """Open, ping and close the destination of a profile."""
    problem, advice = item.problem, list[str]()
    if not problem and item.destination is not None:
        try:
            async with gate, asyncio.timeout(timeout):
                advice += await probe(item.destination)
        except TimeoutError:
            problem = f"no answer within {timeout:g} s"
        except Exception as error:
            problem = redact(str(error) or type(error).__name__, item.destination.secrets)
    return Row("profile", item.name, item.plugin, problem, advice)


async def _receiver(
    hub: Any, each: receivers.Receiver, serializer: str, timeout: float, gate: asyncio.Semaphore
) -> Row:
    async with gate:
        problem, advice = await receivers.inspect(hub, each, serializer, timeout)
    secrets, source = each.source.secrets, each.source
    return Row(each.name, source.name, source.plugin.__name__, redact(problem, secrets), advice)

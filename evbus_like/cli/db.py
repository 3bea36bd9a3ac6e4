"""`evbus db`: the tables of the outbox in the application's PostgreSQL: their SQL, what is missing, and the account."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

from evbus_like.cli import action, common, console, output, shown
from evbus_like.cli.errors import NotFound, UsageError
from evbus_like.engine.errors import StorageError
from evbus_like.engine.suggest import did_you_mean
from evbus_like.hub import postgres
from evbus_like.hub.profiles import plan
from evbus_like.hub.secrets import redact
from evbus_like.postgres import ddl

if TYPE_CHECKING:
    from evbus_like.postgres.database import Database
    from evbus_like.postgres.look import Account

T = TypeVar("T")


async def run(hub: Any) -> int:
    """Run the action that the command line names."""
    return await action.run(hub, hub.OPT.evbus_like.db_action, {"schema": schema, "check": check, "status": status})


async def schema(hub: Any) -> int:
    """Print the SQL that makes the tables, or leads from an older version to this one."""
    given = hub.OPT.evbus_like
    try:
        if given.db_notify:
            text = ddl.notify(given.db_schema)
        else:
            text = ddl.statements(given.db_schema, int(given.db_parts), int(given.db_after))
    except ValueError as error:
        raise UsageError(str(error)) from None
    if given.json:
        console.document({"version": ddl.LATEST, "after": int(given.db_after), "sql": text})
    else:
        print(
            text or f"-- evbus_like, version {ddl.LATEST}: nothing is newer",
            end="" if text else "\n",
            file=output.results(),
        )
    return 0


async def check(hub: Any) -> int:
    """Print what is wrong with the tables of each profile; return 1 if something is."""
    from evbus_like.postgres import look

    found = await _each(hub, look.check)
    if hub.OPT.evbus_like.json:
        console.document({name: {"problems": each} for name, each in found.items()})
    else:
        for name, problems in found.items():
            print(f"{name}: {'ok' if not problems else ''}".rstrip(), file=output.results())
            for problem in problems:
                print(f"- {shown.visible(problem)}", file=output.results())
    return int(any(found.values()))


async def status(hub: Any) -> int:
    """Print the account of each profile; return 1 if events wait in parts that no process relays."""
    from evbus_like.postgres import look

    found = await _each(hub, lambda database: look.account(database))
    if hub.OPT.evbus_like.json:
        console.document({name: asdict(each) for name, each in found.items()})
    else:
        for name, account in found.items():
            _print(name, account)
    return int(any(each.waiting and each.unowned for each in found.values()))


async def _each(hub: Any, look: Callable[[Database], T]) -> dict[str, T]:
    """Look at the database of each profile that is named, or of all; raises StorageError for the first that fails."""
    contexts = await common.contexts(hub)
    databases = {each.name: each for each in postgres.of_contexts(hub, contexts)}
    if not databases:
        raise StorageError(
            f"the credentials have no profile of the provider {plan.DATABASES}:"
            " postgres: {NAME: {connection: postgresql://USER@HOST/DATABASE}}"
        )
    wanted = [each.removeprefix(f"{plan.DATABASES}:") for each in hub.OPT.evbus_like.db_profiles] or [*databases]
    for name in wanted:
        if name not in databases:
            raise NotFound(f"there is no profile {plan.DATABASES}:{name}; {did_you_mean(name, databases)}")
    found: dict[str, T] = {}
    for name in wanted:
        try:
            found[databases[name].label] = await asyncio.to_thread(look, databases[name])
        except StorageError as error:
            raise StorageError(redact(str(error))) from None
    return found


def _print(name: str, account: Account) -> None:
    out = output.results()
    where = f"{account.database}, schema {account.schema}, version {account.version}, {shown.size(account.bytes)}"
    print(f"{shown.visible(name)}: database {shown.visible(where)}", file=out)
    print(
        f"stored {account.stored} = delivered {account.delivered} + dead-lettered {account.dead_lettered}"
        f" + waiting {account.waiting}",
        file=out,
    )
    if account.waiting:
        print(f"the oldest waits since {shown.age(time.time() - account.oldest_age)}", file=out)
        console.table("Waiting", ("profile", "events"), account.by_profile.items())
    if account.scheduled:
        first = shown.moment(account.first_due or 0.0)
        later = f"{shown.many(account.scheduled, 'event')} to be sent later, the first at {first}"
        print(f"{later} (evbus outbox scheduled)", file=out)
    if account.dead:
        print(f"{account.dead} dead letters are in the table evbus_dead", file=out)
    if account.relays:
        console.table("Relays", ("process", "parts"), account.relays.items())
    if account.unowned:
        print(f"{account.unowned} parts are relayed by no process", file=sys.stderr if account.waiting else out)

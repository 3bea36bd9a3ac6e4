"""`evbus outbox scheduled` and `evbus outbox cancel`: events that are sent later."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evbus_like.cli import common, console, file, shown
from evbus_like.cli.errors import UsageError
from evbus_like.engine.errors import StorageError
from evbus_like.engine.outbox import elsewhere
from evbus_like.engine.outbox.inspect import scheduled, summarize
from evbus_like.hub import outbox_place, postgres
from evbus_like.hub.secrets import redact

if TYPE_CHECKING:
    from evbus_like.postgres.database import Database

MOST = 100  # events that are listed


async def ls(hub: Any) -> int:
    """Print the events that are due next."""
    settings, (path, files, databases) = hub.OPT.evbus_like, await _places(hub)
    count = 0
    rows: list[dict[str, Any]] = []
    for each in files:
        with file.reading(each):
            count += (await asyncio.to_thread(summarize, each)).scheduled
            rows += [
                {
                    "id": event.id,
                    "due": event.due,
                    "routing_key": event.forms[0][0].routing_key,
                    "profile": event.profile,
                    "destinations": list(event.destinations),
                    "bytes": event.size,
                    "place": str(each),
                }
                for event in await asyncio.to_thread(scheduled, each, MOST)
            ]
    for database in databases:
        there, found = await asyncio.to_thread(_in_database, database)
        count += there
        rows += found
    rows = sorted(rows, key=lambda row: row["due"])[:MOST]
    if settings.json:
        console.document({"path": str(path), "exists": path in files, "scheduled": count, "events": rows})
    elif not files and not databases:
        print(file.nothing(path))
    elif not rows:
        print(f"no event of {_named(files, databases)} is sent later")
    else:
        title = f"{shown.many(count, 'event')} to be sent later" + (f", the next {MOST}" if count > MOST else "")
        columns = ["id", "due", "routing key", "profile", "destinations", "place"]
        cells = [
            [
                *(row["id"], shown.moment(row["due"]), row["routing_key"], row["profile"]),
                *(", ".join(row["destinations"]), row["place"]),
            ]
            for row in rows
        ]
        console.table(title, columns, cells)
    return 0


async def cancel(hub: Any) -> int:
    """Delete events that are not due yet, by their ids; return 1 if there is none of one of them."""
    settings, path = hub.OPT.evbus_like, file.path(hub)
    ids = list(dict.fromkeys(settings.names))
    if not ids:
        raise UsageError("name an event by its id, as `evbus outbox scheduled` shows it: evbus outbox cancel ID")
    _, files, databases = await _places(hub)
    done = [event_id for event_id in ids if await _cancelled(event_id, files, databases)]
    missing = [event_id for event_id in ids if event_id not in done]
    if settings.json:
        console.document({"path": str(path), "done": done, "missing": missing})
    else:
        print(f"{shown.many(len(done), 'event')} cancelled")
    where = _named(files, databases) if files or databases else path
    for event_id in missing:
        print(
            f"evbus outbox cancel: no event {shown.visible(event_id)} is to be sent later in {where}", file=sys.stderr
        )
    return 1 if missing else 0


async def _places(hub: Any) -> tuple[Path, list[Path], list[Database]]:
    """Return the path of the outbox, the files that there are of the application, and its databases, if known."""
    path = file.path(hub)
    workers = [each for each in outbox_place.of_workers(path) if each != path]
    files = [each for each in (path, *workers) if file.there(each)]
    if not hub.OPT.evbus_like.acct_file:
        return path, files, []
    return path, files, postgres.of_contexts(hub, await common.contexts(hub))


def _named(files: list[Path], databases: list[Database]) -> str:
    return ", ".join([*(f"the outbox {each}" for each in files), *(each.label for each in databases)])


async def _cancelled(event_id: str, files: list[Path], databases: list[Database]) -> bool:
    for each in files:
        with file.reading(each):
            if await elsewhere.cancel(each, event_id):
                return True
    for database in databases:
        from evbus_like.postgres.table import Cancels

        cancels = Cancels(database)
        try:
            if await cancels.cancel(event_id):
                return True
        except StorageError as error:
            raise StorageError(redact(str(error))) from None
        finally:
            await cancels.close()
    return False


def _in_database(database: Database) -> tuple[int, list[dict[str, Any]]]:
    from evbus_like.postgres import look

    try:
        count, events = look.scheduled(database, MOST)
    except StorageError as error:
        raise StorageError(redact(str(error))) from None
    return count, [{**event, "destinations": [], "place": database.label} for event in events]

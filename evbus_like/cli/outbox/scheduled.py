"""`evbus outbox scheduled` and `evbus outbox cancel`: events that are sent later."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from evbus_like.cli import console, file, shown
from evbus_like.cli.errors import UsageError
from evbus_like.engine.outbox import StorageError, requests
from evbus_like.engine.outbox.inspect import scheduled, summarize
from evbus_like.engine.outbox.lock import holder

MOST = 100  # events that are listed


async def ls(hub: Any) -> int:
    """Print the events that are due next."""
    settings, path = hub.OPT.evbus_like, file.path(hub)
    with file.reading(path):
        there = file.there(path)
        count = (await asyncio.to_thread(summarize, path)).scheduled if there else 0
        events = await asyncio.to_thread(scheduled, path, MOST) if there else []
    rows: list[dict[str, Any]] = [
        {
            "id": each.id,
            "due": each.due,
            "routing_key": each.forms[0][0].routing_key,
            "profile": each.profile,
            "destinations": list(each.destinations),
            "bytes": each.size,
        }
        for each in events
    ]
    if settings.json:
        console.document({"path": str(path), "exists": there, "scheduled": count, "events": rows})
    elif not there:
        print(file.nothing(path))
    elif not rows:
        print(f"no event of the outbox {path} is sent later")
    else:
        title = f"{shown.many(count, 'event')} to be sent later" + (f", the next {MOST}" if count > MOST else "")
        columns = ["id", "due", "routing key", "profile", "destinations"]
        cells = [
            [row["id"], shown.moment(row["due"]), row["routing_key"], row["profile"], ", ".join(row["destinations"])]
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
    done = await _cancelled(path, ids) if file.there(path) else []
    missing = [event_id for event_id in ids if event_id not in done]
    if settings.json:
        console.document({"path": str(path), "done": done, "missing": missing})
    else:
        print(f"{shown.many(len(done), 'event')} cancelled")
    for event_id in missing:
        print(f"evbus outbox cancel: no event {shown.visible(event_id)} is to be sent later in {path}", file=sys.stderr)
    return 1 if missing else 0


async def _cancelled(path: Path, ids: list[str]) -> list[str]:
    """Cancel events, through the bus that has the outbox open, if one takes requests; give those that there were."""
    if requests.folder(path).exists() and holder(path) is not None:
        done = []
        for event_id in ids:
            answer = await requests.ask(path, requests.Request(requests.CANCEL, (), event_id))
            if "error" in answer:
                raise StorageError(f"the process that has the outbox {path} open says: {answer['error']}")
            done += [event_id] * int(answer["done"])
        return done
    box = await file.opened(path)
    try:
        return [event_id for event_id in ids if await box.cancel(event_id)]
    finally:
        await box.close()

"""`evbus dead ls`: list the dead letters."""

from __future__ import annotations

import asyncio
from typing import Any

from evbus_like.cli import console, file, shown
from evbus_like.cli.dead import dead_letter, which
from evbus_like.engine.outbox import DeadLetter, inspect

SHOWN = 100  # without --limit
COLUMNS = ("number", "given up", "destination", "profile", "routing key", "kind", "attempts", "size", "reason")


async def run(hub: Any) -> int:
    """Print the dead letters that match the filters, without their bodies."""
    settings = hub.OPT.evbus_like
    path = file.path(hub)
    choice, most = which.wanted(settings), which.limit(settings) or SHOWN
    with file.reading(path):
        there = file.there(path)
        found = await asyncio.to_thread(inspect.dead_letters, path, choice, most + 1) if there else []
    letters, more = found[:most], len(found) > most
    if settings.json:
        listed = [dead_letter.as_dict(each) for each in letters]
        console.document({"path": str(path), "exists": there, "more": more, "dead_letters": listed})
    elif not there:
        print(file.nothing(path))
    elif not letters:
        print(f"the outbox {path} has no dead letters that match the filters")
    else:
        title = (
            f"the oldest {most} dead letters; --limit shows more" if more else shown.many(len(letters), "dead letter")
        )
        console.table(title, COLUMNS, [_cells(each) for each in letters])
    return 0


def _cells(each: DeadLetter) -> list[object]:
    event = each.event
    texts = [shown.visible(text) for text in (each.destination, event.profile, event.routing_key, each.kind)]
    size = shown.size(each.size)
    return [each.number, f"{shown.age(each.died)} ago", *texts, each.attempts, size, shown.visible(each.reason)]

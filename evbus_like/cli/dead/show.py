"""`evbus dead show`: show everything about one dead letter."""

from __future__ import annotations

from typing import Any

from evbus_like.cli import console, file, output
from evbus_like.cli.dead import dead_letter, which
from evbus_like.cli.errors import NotFound, UsageError
from evbus_like.engine.outbox import inspect


async def run(hub: Any) -> int:
    """Print one dead letter; raises NotFound."""
    settings = hub.OPT.evbus_like
    path = file.path(hub)
    given = which.numbers(settings)
    if len(given) != 1:
        raise UsageError("name one dead letter: `evbus dead show NUMBER`; `evbus dead ls` lists the numbers")
    if settings.raw and settings.json:
        raise UsageError("--raw and --json exclude each other: --raw writes only the bytes of the body")
    number = given[0]
    with file.reading(path):
        there = file.there(path)
        found = inspect.dead_letter(path, number) if there and number < which.BEYOND else None
    if found is None:
        raise NotFound(f"there is no dead letter {number} in {path}" if there else file.nothing(path))
    if settings.raw:
        output.results().buffer.write(found.event.body)
        output.results().buffer.flush()
    elif settings.json:
        console.document(dead_letter.as_dict(found))
    else:
        print(dead_letter.as_text(found))
    return 0

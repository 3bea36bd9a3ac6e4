"""`evbus dead ls`: list the dead letters, grouped by what they were for and why they were given up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evbus_like.cli import console, file, shown
from evbus_like.cli.dead import dead_letter, places, which
from evbus_like.cli.dead.groups import Groups
from evbus_like.cli.dead.places import Place
from evbus_like.cli.dead.walk import Walk
from evbus_like.engine.receiving.look import FoundLetter, Look

SHOWN = 100  # without --limit
COLUMNS = ("name", "given up", "of", "profile", "routing key", "kind", "attempts", "size", "reason")


async def run(hub: Any) -> int:
    """Print groups, or with --each letters, without their bodies; return 1 if a place could not be looked at."""
    settings = hub.OPT.evbus_like
    choice = which.filtered(settings)
    most = choice.limit or SHOWN
    groups, listed = Groups(), list[tuple[Place, FoundLetter]]()

    async def visit(place: Place, look: Look, letters: Sequence[FoundLetter]) -> bool:
        groups.add(place, letters)
        for letter in letters[: most + 1 - len(listed)]:
            letter.body = None
            listed.append((place, letter))
        return True

    walk = Walk(await places.find(hub, choice), choice)
    await walk.run(visit)
    if settings.json:
        _document(hub, groups, listed, most, walk)
    else:
        _print(groups, listed if settings.each else [], most, walk)
        walk.report("ls")
    return 0 if walk.complete else 1


def _document(hub: Any, groups: Groups, listed: list[tuple[Place, FoundLetter]], most: int, walk: Walk) -> None:
    path: Path = file.path(hub)
    letters = [dead_letter.as_dict(letter, place) for place, letter in listed[:most]]
    more = len(listed) > most
    box = {"path": str(path), "exists": file.there(path)}
    console.document({**box, "groups": groups.as_list(), "more": more, "dead_letters": letters, **walk.as_dict()})


def _print(groups: Groups, listed: list[tuple[Place, FoundLetter]], most: int, walk: Walk) -> None:
    if not groups.listed:
        print(f"no dead letters match the filters in what was looked at: {walk.where()}")
        return
    groups.show()
    if listed:
        more = len(listed) > most
        title = f"the first {most}; --limit shows more" if more else "all of them"
        console.table(title, COLUMNS, [_cells(each) for _, each in listed[:most]])
    print(f"looked at: {walk.where()}")


def _cells(each: FoundLetter) -> list[object]:
    texts = [shown.visible(text) for text in (each.owner, each.profile, each.routing_key, each.kind or "-")]
    died = "unknown" if each.died is None else f"{shown.age(each.died)} ago"
    return [each.name, died, *texts, each.attempts, shown.size(each.size), shown.visible(each.reason)]

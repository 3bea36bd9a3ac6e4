"""`evbus dead purge`: delete dead letters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from evbus_like.cli import ask, common, console, file, shown
from evbus_like.cli.dead import change, places, stored, which
from evbus_like.cli.dead.places import OUTBOX, Place
from evbus_like.cli.dead.walk import Walk
from evbus_like.engine.receiving.look import FoundLetter, Look


async def run(hub: Any) -> int:
    """Delete dead letters after a confirmation; return 1 if something stays that was chosen, or the user declined."""
    settings = hub.OPT.evbus_like
    choice = which.chosen(settings, "purge")
    found = await places.find(hub, choice)
    walk = Walk(found, choice)
    if not settings.yes:
        counts = await change.count(walk, choice)
        if counts and not _may_delete(hub, found, counts):
            _print(settings.json, change.Change(choice), walk)
            return 1
    async with common.signals() as stopped:
        done = change.Change(choice, stopped=stopped)
        with console.Progress("purge") as progress:

            async def visit(place: Place, look: Look, letters: Sequence[FoundLetter]) -> bool:
                return await done.letters(look, letters, _remove, progress)

            await walk.run(visit)
    done.report("purge", walk)
    _print(settings.json, done, walk)
    return done.code(walk)


async def _remove(look: Look, letters: Sequence[FoundLetter]) -> Sequence[str]:
    return await look.remove(letters)


def _print(as_json: bool, done: change.Change, walk: Walk) -> None:
    purged = done.done.total()
    if as_json:
        console.document({"purged": purged, **done.as_dict(walk)})
    else:
        print(f"deleted {shown.many(purged, 'dead letter')}")


def _may_delete(hub: Any, found: places.Places, counts: Counter[str]) -> bool:
    """Ask on the terminal; raises OutboxLocked if the outbox cannot be changed, UsageError without a terminal."""
    if any(place.source == OUTBOX for place in found.found):
        stored.check(file.path(hub))
    what = f"{shown.many(counts.total(), 'dead letter')} for good ({change.whose(counts)})"
    return ask.agreed(what)

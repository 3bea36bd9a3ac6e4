"""`evbus dead replay`: give events back to the handlers and destinations that failed with them, or to others."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from evbus_like.cli import common, console, file, shown
from evbus_like.cli.dead import places, which
from evbus_like.cli.dead.change import Change
from evbus_like.cli.dead.places import OUTBOX, Place, Places
from evbus_like.cli.dead.stored import OutboxLook
from evbus_like.cli.dead.walk import Walk
from evbus_like.cli.errors import UsageError
from evbus_like.cli.outbox import flush
from evbus_like.engine.receiving.look import FoundLetter, Look
from evbus_like.engine.suggest import did_you_mean
from evbus_like.engine.suggest import shown as quoted


async def run(hub: Any) -> int:
    """Replay dead letters, with --send also send those of the outbox; return 1 if something stays that was chosen."""
    settings = hub.OPT.evbus_like
    choice = which.chosen(settings, "replay")
    given = await flush.sendable(hub) if settings.send else None  # fails before anything is changed
    found = await places.find(hub, choice)
    targets = _targets(found, settings.to)
    walk, stored = Walk(found, choice), 0

    async with common.signals() as stopped:
        change = Change(choice, settings.rate and float(settings.rate), stopped)
        with console.Progress("replay") as progress:

            async def visit(place: Place, look: Look, letters: Sequence[FoundLetter]) -> bool:
                nonlocal stored
                before = change.done.total() - _sent(look)

                async def work(look: Look, part: Sequence[FoundLetter]) -> Sequence[str]:
                    return await look.replay(part, targets.get(place.source, ""))

                goes_on = await change.letters(look, letters, work, progress)
                stored += change.done.total() - _sent(look) - before if place.source == OUTBOX else 0
                return goes_on

            await walk.run(visit)
    change.report("replay", walk)
    if not settings.json:
        _say(change, stored, bool(settings.send))
    sent = None
    if given is not None and stored and not stopped.is_set():
        sent = await flush.flush(hub, file.path(hub), given)
        if not settings.json:
            sent.show()
    if settings.json:
        data = {"replayed": change.done.total(), "destinations": change.done, **change.as_dict(walk)}
        console.document({**data, "sent": sent.as_dict() if sent else None})
    return change.code(walk) or (sent.code if sent is not None else 0)


def _sent(look: Look) -> int:
    """Return how many letters of the outbox a running bus sends already."""
    return look.sent if isinstance(look, OutboxLook) else 0


def _targets(found: Places, to: str | None) -> dict[str, str]:
    """Return where letters of each source go that do not go back; raises UsageError."""
    if to is None:
        return {}
    queues = {place.source: place.queue for place in found.found if place.owner == to}
    sources = {place.source for place in found.found}
    if sources == {OUTBOX}:
        return {OUTBOX: to}
    if not queues:
        names = [place.owner for place in found.found if place.owner]
        raise UsageError(f"--to {quoted(to)} is no handler of these profiles; {did_you_mean(to, names)}")
    if others := sources - {*queues}:
        raise UsageError(
            f"--to {quoted(to)} does not read from {', '.join(sorted(others))}: choose the letters by --at"
        )
    return queues


def _say(change: Change, stored: int, sends: bool) -> None:
    count = change.done.total()
    print(f"replayed {shown.many(count, 'dead letter')}{': ' * bool(count)}{change.whose()}")
    if change.stopped.is_set():
        print("evbus dead replay: stopped; the others are still dead letters: run it again", file=sys.stderr)
    elif stored and not sends:
        print("the next start of the bus sends them; to send them now: evbus outbox flush --acct-file FILE")

"""`evbus dead replay`: put dead letters back into the outbox, with the same ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evbus_like.cli import console, file, shown
from evbus_like.cli.dead import change, which
from evbus_like.cli.outbox import flush

AT_ONCE = 200  # for each transaction, which holds the bodies in memory


async def run(hub: Any) -> int:
    """Make dead letters pending, with --send also send them; return 1 if one was not found or not sent."""
    settings = hub.OPT.evbus_like
    path = file.path(hub)
    found = which.found(settings, path, "replay")
    given = await flush.sendable(hub) if settings.send else None  # fails before anything is changed
    replayed = await _replay(path, found.numbers)
    sent = None
    found.name_missing("replay")
    if not settings.json:
        _say(found, replayed.total(), bool(settings.send))
    if given is not None and replayed:
        sent = await flush.flush(hub, path, given)
        if not settings.json:
            sent.show()
    if settings.json:
        data = {"replayed": replayed.total(), "destinations": replayed, "missing": found.missing}
        console.document({**data, "sent": sent.as_dict() if sent else None})
    if sent is not None and sent.code:
        return sent.code
    return 1 if found.missing else 0


async def _replay(path: Path, numbers: Sequence[int]) -> Counter[str]:
    """Make dead letters pending and count them by destination; after an interruption the rest stay dead letters."""
    replayed: Counter[str] = Counter()
    if numbers:
        async with change.opened(path) as box:
            for part in change.parts(numbers, AT_ONCE):
                replayed.update(name for _, _, name in await box.replay(part))
    return replayed


def _say(found: which.Found, count: int, sends: bool) -> None:
    print(f"replayed {shown.many(count, 'dead letter')}{': ' * bool(count)}{found.whose()}")
    if count and not sends:
        print("the next start of the bus sends them; to send them now: evbus outbox flush --acct-file FILE")

"""Events that wait in an outbox for a destination: set aside, as dead letters, or deleted."""

from __future__ import annotations

from time import monotonic

from evbus_like.engine.outbox.outbox import Outbox
from evbus_like.engine.outbox.requests import SET_ASIDE

REASON = "set aside by `evbus outbox set-aside`"
SLICE = 2.0  # seconds after which `change` returns: a request to a running bus has an answer soon


async def change(box: Outbox, action: str, destination: str) -> tuple[int, bool]:
    """Set aside, or discard, events that wait for a destination, for a while; give how many, and if more may wait."""
    done, until = 0, monotonic() + SLICE
    while True:
        count = await (box.set_aside(destination, REASON) if action == SET_ASIDE else box.discard(destination))
        done += count
        if not count or monotonic() >= until:
            break
    await box.flush()
    return done, bool(count)

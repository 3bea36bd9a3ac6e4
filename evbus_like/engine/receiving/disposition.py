"""Verdicts: what becomes of an event after its handling, as the handler's `on_error` says."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

from evbus_like.engine.receiving.handler import ACK_AND_LOG, REJECT, REQUEUE, SHUTDOWN, HandlerOptions

ACK, AGAIN, BACK, DEAD, LEAVE, LATER = "ack", "again", "back", "dead", "leave", "later"


@dataclass(frozen=True)
class Disposition:
    """`kind` is ACK (done), AGAIN (after `delay` seconds), BACK (to the source), DEAD (letter) or LEAVE (unsettled).

    LATER says that `until` gives the verdict some time, while the worker goes on to the next event.
    """

    kind: str
    delay: float = 0.0
    reason: str = ""
    until: asyncio.Future[Disposition] | None = None


DONE = Disposition(ACK)


def failed(options: HandlerOptions, attempt: int, reason: str) -> Disposition:
    """Decide about an event whose handler failed for the `attempt`th time."""
    policy = options.on_error
    if policy == ACK_AND_LOG:
        return Disposition(ACK, reason=reason)
    if policy == SHUTDOWN:
        return Disposition(LEAVE, reason=reason)
    if policy == REQUEUE:
        return Disposition(BACK, reason=reason)
    if policy == REJECT:
        return Disposition(DEAD, reason=f"rejected: {reason}")
    if attempt >= options.attempts:
        return Disposition(DEAD, reason=f"given up after {attempt} attempts: {reason}")
    return Disposition(AGAIN, backoff(options, attempt), reason)


def backoff(options: HandlerOptions, attempt: int) -> float:
    """Give the wait before the next attempt, in seconds: it doubles each time, with half of it drawn."""
    ceiling = min(options.max_backoff, options.backoff * 2 ** min(attempt - 1, 30))
    return random.uniform(ceiling / 2, ceiling)


def said(disposition: Disposition) -> str:
    """Say in words what becomes of the event."""
    return {
        ACK: "it is acknowledged all the same",
        AGAIN: f"it is handled again in {disposition.delay:.1f} s",
        BACK: "it goes back to its queue",
        DEAD: "it goes to the dead letters",
        LEAVE: "the worker stops, and it is handled again after the next start",
    }[disposition.kind]

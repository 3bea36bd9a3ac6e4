"""Verdicts: what becomes of an event after its handling, as the handler's `on_error` says."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

from evbus_like.engine.consuming.handler import ACK_AND_LOG, REJECT, REQUEUE, SHUTDOWN, HandlerOptions

ACK, AGAIN, BACK, DEAD, LEAVE, LATER = "ack", "again", "back", "dead", "leave", "later"


@dataclass(frozen=True)
class Verdict:
    """`kind` is ACK (done), AGAIN (after `delay` seconds), BACK (to the source), DEAD (letter) or LEAVE (unsettled).

    LATER says that `until` gives the verdict some time, while the worker goes on to the next event.
    """

    kind: str
    delay: float = 0.0
    reason: str = ""
    until: asyncio.Future[Verdict] | None = None


DONE = Verdict(ACK)


def failed(options: HandlerOptions, attempt: int, reason: str) -> Verdict:
    """Decide about an event whose handler failed for the `attempt`th time."""
    policy = options.on_error
    if policy == ACK_AND_LOG:
        return Verdict(ACK, reason=reason)
    if policy == SHUTDOWN:
        return Verdict(LEAVE, reason=reason)
    if policy == REQUEUE:
        return Verdict(BACK, reason=reason)
    if policy == REJECT:
        return Verdict(DEAD, reason=f"rejected: {reason}")
    if attempt >= options.attempts:
        return Verdict(DEAD, reason=f"given up after {attempt} attempts: {reason}")
    return Verdict(AGAIN, backoff(options, attempt), reason)


def backoff(options: HandlerOptions, attempt: int) -> float:
    """Give the wait before the next attempt, in seconds: it doubles each time, with half of it drawn."""
    ceiling = min(options.max_backoff, options.backoff * 2 ** min(attempt - 1, 30))
    return random.uniform(ceiling / 2, ceiling)


def said(verdict: Verdict) -> str:
    """Say in words what becomes of the event."""
    return {
        ACK: "it is acknowledged all the same",
        AGAIN: f"it is handled again in {verdict.delay:.1f} s",
        BACK: "it goes back to its queue",
        DEAD: "it goes to the dead letters",
        LEAVE: "the worker stops, and it is handled again after the next start",
    }[verdict.kind]

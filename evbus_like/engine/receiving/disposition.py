"""A disposition says what becomes of a received event after its handling."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

from evbus_like.engine.receiving.handler import ACK_AND_LOG, REJECT, REQUEUE, RETRY, SHUTDOWN, HandlerOptions

ACK, DEAD_LETTER, PENDING = "ack", "dead_letter", "pending"


@dataclass(frozen=True)
class Disposition:
    """What becomes of an event.

    `kind` is ACK (done), RETRY (again after `delay` seconds), REQUEUE (back to the source), DEAD_LETTER, SHUTDOWN (it
    stays unsettled and the worker stops) or PENDING (`until` returns the final disposition; the worker does not wait).
    """

    kind: str
    delay: float = 0.0
    reason: str = ""
    until: asyncio.Future[Disposition] | None = None


DONE = Disposition(ACK)


def failed(options: HandlerOptions, attempt: int, reason: str) -> Disposition:
    """Return the disposition of an event whose handler failed, by `on_error`; `attempt` counts from 1."""
    policy = options.on_error
    if policy == ACK_AND_LOG:
        return Disposition(ACK, reason=reason)
    if policy in (SHUTDOWN, REQUEUE):
        return Disposition(policy, reason=reason)
    if policy == REJECT:
        return Disposition(DEAD_LETTER, reason=f"rejected: {reason}")
    if attempt >= options.attempts:
        return Disposition(DEAD_LETTER, reason=f"given up after {attempt} attempts: {reason}")
    return Disposition(RETRY, backoff(options, attempt), reason)


def backoff(options: HandlerOptions, attempt: int) -> float:
    """Return the seconds until the next attempt: they double with each, and half of them are random."""
    ceiling = min(options.max_backoff, options.backoff * 2 ** min(attempt - 1, 30))
    return random.uniform(ceiling / 2, ceiling)


def described(disposition: Disposition) -> str:
    """Return a disposition in words, for logs and the command."""
    return {
        ACK: "the event is acknowledged all the same",
        RETRY: f"retry in {disposition.delay:.1f} s",
        REQUEUE: "the event is requeued",
        DEAD_LETTER: "the event becomes a dead letter",
        SHUTDOWN: "the worker stops; the event is handled again after the next start",
    }[disposition.kind]

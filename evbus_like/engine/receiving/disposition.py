"""A disposition says what becomes of a received event after its handling."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

from evbus_like.engine.receiving.rules import (
    ACK_AND_LOG,
    REJECT,
    REQUEUE,
    RETRY,
    SHUTDOWN,
    Decision,
    Policy,
    Reject,
    Requeue,
    Retry,
)

DECIDED: dict[type[Decision], str] = {Retry: RETRY, Reject: REJECT, Requeue: REQUEUE}
ACK, AGAIN, DEAD_LETTER, PENDING = "ack", "again", "dead_letter", "pending"


@dataclass(slots=True)  # not frozen, which would cost a call more
class Disposition:
    """What becomes of an event.

    `kind` is ACK (done), AGAIN (here, as if it had not been tried), RETRY (again after `delay` seconds), REQUEUE (back
    to the source), DEAD_LETTER, SHUTDOWN (it stays unsettled and the worker stops) or PENDING (`until` returns the
    final disposition; the worker does not wait).
    """

    kind: str
    delay: float = 0.0
    reason: str = ""
    until: asyncio.Future[Disposition] | None = None


DONE = Disposition(ACK)
# The handler was not called:
UNWANTED = Disposition(ACK)  # its `where` does not want the event
EXPIRED = Disposition(ACK)  # nobody wants the event any more
REPEAT = Disposition(ACK)  # the inbox has it already


def is_unhandled(disposition: Disposition) -> bool:
    """Whether an event is acknowledged that nobody has handled: when it comes again, it is no repeat."""
    return disposition is UNWANTED or disposition is EXPIRED


def failed(policy: Policy, attempt: int, reason: str, decision: Decision | None = None) -> Disposition:
    """Return the disposition of an event whose handler failed; `attempt` counts from 1."""
    does = policy.on_error if decision is None else DECIDED[type(decision)]
    if does == ACK_AND_LOG:
        return Disposition(ACK, reason=reason)
    if does in (SHUTDOWN, REQUEUE):
        return Disposition(does, reason=reason)
    if does == REJECT:
        return Disposition(DEAD_LETTER, reason=f"rejected: {reason}")
    if attempt >= policy.most:
        return Disposition(DEAD_LETTER, reason=f"given up after {attempt} attempts: {reason}")
    if isinstance(decision, Retry) and decision.after is not None:
        return Disposition(RETRY, decision.after, reason)
    return Disposition(RETRY, _delay(policy, attempt), reason)


def _delay(policy: Policy, attempt: int) -> float:
    """Return the seconds until the next attempt: they double with each, half of them random, then come the later."""
    if attempt >= policy.attempts:
        return policy.later[attempt - policy.attempts]
    ceiling = min(policy.max_backoff, policy.backoff * 2 ** min(attempt - 1, 30))
    return random.uniform(ceiling / 2, ceiling)


def outcome_of(disposition: Disposition) -> str:
    """Return what becomes of an event that was handled, in words."""
    if disposition is DONE:
        return "handled"
    if disposition is UNWANTED:
        return "not wanted"
    if disposition is EXPIRED:
        return "expired"
    if disposition is REPEAT:
        return "a repeat, which the inbox has"
    return "answered, and not yet confirmed" if disposition.until is not None else f"failed, {described(disposition)}"


def described(disposition: Disposition) -> str:
    """Return a disposition in words, for logs and the command."""
    return {
        ACK: "the event is acknowledged all the same",
        AGAIN: "it is handled again after the pause of its breaker, and this was no attempt",
        RETRY: f"retry in {disposition.delay:.1f} s",
        REQUEUE: "the event is requeued",
        DEAD_LETTER: "the event becomes a dead letter",
        SHUTDOWN: "the worker stops; the event is handled again after the next start",
    }[disposition.kind]

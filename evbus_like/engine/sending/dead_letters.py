"""Burial: a dead letter is written before its event is let go."""

from __future__ import annotations

import asyncio
from time import time

from evbus_like.engine.errors import DeliveryError, PutError, TransientError
from evbus_like.engine.event import Event, service_of
from evbus_like.engine.sending.lane import Lane

REASON = 500  # characters of a reason that go into a header


async def bury(
    lane: Lane, event: Event, error: BaseException, attempts: int, first_failed: float | None
) -> DeliveryError | None:
    """Hand a dead letter to the profile that wants it, or write it to the outbox, if there is one.

    Gives the trouble if that is not possible now: then the event has to stay.
    """
    outbox = lane.outbox
    why = (str(error), type(error).__name__, attempts, first_failed or time())
    try:
        async with asyncio.timeout(lane.options.timeout):
            if await _forwarded(lane, event, *why) or outbox is None or event.quiet:
                lane.strike_off(event)
                return None
            if lane.keeps and event.seq:
                await outbox.dead_letter(lane.name, event.seq, *why)
            else:
                await outbox.dead_letter_event(lane.name, event, *why)
    except (PutError, TimeoutError) as trouble:
        return TransientError(f"an event cannot be delivered ({error}), nor its dead letter be stored: {trouble}")
    except LookupError:  # it was buried before, and the answer was lost
        pass
    return None


async def _forwarded(lane: Lane, event: Event, reason: str, kind: str, attempts: int, first_failed: float) -> bool:
    """Whether another profile has the dead letter."""
    profile = lane.options.dead_letter
    if profile is None or lane.forward is None:
        return False
    headers = {
        "evbus-dead-destination": lane.name,
        "evbus-dead-profile": event.profile,
        "evbus-dead-reason": reason[:REASON],
        "evbus-dead-kind": kind,
        "evbus-dead-attempts": attempts,
        "evbus-dead-first-failed": first_failed,
    }
    service = service_of(event)
    if service is not None:
        headers["evbus-dead-service"] = service
    return await lane.forward(event, profile, headers)

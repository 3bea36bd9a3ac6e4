"""Dead letters: an event that is given up is stored, or forwarded, before it leaves its lane."""

from __future__ import annotations

import asyncio
from time import time

from evbus_like.engine import dead_letter_headers
from evbus_like.engine.errors import DeliveryError, PutError, TransientError
from evbus_like.engine.event import Event
from evbus_like.engine.sending.attempts import Attempts
from evbus_like.engine.sending.lane import Lane


async def store_dead_letter(lane: Lane, event: Event, error: BaseException, attempts: Attempts) -> DeliveryError | None:
    """Forward a dead letter to the profile that collects them, or write it to the outbox, if there is one.

    Returns the error if neither is possible now; the event then stays in its lane.
    """
    outbox = lane.outbox
    why = (str(error), type(error).__name__, attempts.current, attempts.first_failed or time())
    try:
        async with asyncio.timeout(lane.options.timeout):
            if await _forwarded(lane, event, *why) or outbox is None or event.quiet:
                lane.forget_stored(event)
                return None
            if lane.may_be_stored and event.seq > 0:
                await outbox.dead_letter(lane.name, event.seq, *why)
            else:
                await outbox.dead_letter_event(lane.name, event, *why)
    except (PutError, TimeoutError) as trouble:
        return TransientError(f"an event cannot be delivered ({error}), nor its dead letter be stored: {trouble}")
    except LookupError:  # it was stored before, but the answer was lost
        pass
    return None


async def _forwarded(lane: Lane, event: Event, reason: str, kind: str, attempts: int, first_failed: float) -> bool:
    """Forward a dead letter; False if no profile takes it."""
    profile = lane.options.dead_letter
    if profile is None or lane.forward is None:
        return False
    headers = dead_letter_headers.undeliverable(event, lane.name, reason, kind, attempts, first_failed)
    return await lane.forward(event, profile, headers)

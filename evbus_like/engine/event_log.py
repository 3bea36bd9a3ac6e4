"""The log of single events, at debug: a line for each event put, sent, received and handled.

Code that logs asks `is_on` once, at the start, so that nothing is spent on it where debug is off.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from evbus_like.engine.suggest import printable

if TYPE_CHECKING:
    from evbus_like.engine.event import Event
    from evbus_like.engine.receiving.received import ReceivedEvent

log = logging.getLogger("evbus_like.flow")


def is_on() -> bool:
    """Return whether these lines are logged."""
    return log.isEnabledFor(logging.DEBUG)


def put(event: Event, destinations: Sequence[str]) -> None:
    """Log an event that was accepted."""
    where = ", ".join(destinations) or "no destination"
    log.debug("put %s for %s", _named(event), where, extra=_fields(event))


def sent(events: Sequence[Event], destination: str, attempts: int) -> None:
    """Log events that a destination has confirmed."""
    times = f", attempt {attempts}" if attempts > 1 else ""
    for event in events:
        extra = {**_fields(event), "destination": destination}
        log.debug("sent %s to %s%s", _named(event), destination, times, extra=extra)


def expired(event: Event, destination: str) -> None:
    """Log an event that is not sent, because nobody wants it any more."""
    extra = {**_fields(event), "destination": destination}
    log.debug("expired %s before %s could send it", _named(event), destination, extra=extra)


def received(events: Sequence[ReceivedEvent], source: str, handler: str) -> None:
    """Log events that a source gave."""
    for event in events:
        again = f", attempt {event.attempt}" if event.attempt > 1 else ", again" if event.redelivered else ""
        log.debug("received %s from %s for %s%s", event, source, handler, again, extra=_received(event, handler))


def handled(event: ReceivedEvent, handler: str, what: str, seconds: float) -> None:
    """Log an event whose handler has ended, and what becomes of it."""
    log.debug("%s: %s by %s in %.3f s", event, what, handler, seconds, extra=_received(event, handler))


def _named(event: Event) -> str:
    return printable(f"{event.routing_key or 'an event'} {event.id}")


def _fields(event: Event) -> dict[str, str]:
    return {"event_id": event.id, "routing_key": event.routing_key, "profile": event.profile}


def _received(event: ReceivedEvent, handler: str) -> dict[str, str]:
    return {"event_id": event.id, "routing_key": event.routing_key, "handler": handler}

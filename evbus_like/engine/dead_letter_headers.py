"""The headers of dead letters: why, where and after how many attempts an event was given up."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING, Any

from evbus_like.engine.event import Event, service_of

if TYPE_CHECKING:
    from evbus_like.engine.receiving.received import ReceivedEvent

MAX_REASON = 1000  # characters
MAX_TEXT = 255  # characters of any other value: a routing key that comes from a record's key has no limit of its own
CUT = "evbus-dead-cut"
RETRY_CUT = "evbus-cut"  # the same of a copy that waits for its retry
DESTINATION = "evbus-dead-destination"
REASON = "evbus-dead-reason"
ATTEMPTS = "evbus-dead-attempts"
QUEUE = "evbus-dead-queue"
ROUTING_KEY = "evbus-dead-routing-key"
SERVICE = "evbus-dead-service"
AT = "evbus-dead-at"
UNHANDLED = frozenset({REASON, ATTEMPTS, QUEUE, ROUTING_KEY, SERVICE, AT, CUT})  # those of handlers' dead letters


def undeliverable(
    event: Event, destination: str, reason: str, kind: str, attempts: int, first_failed: float
) -> dict[str, Any]:
    """Return the headers for an event that could not be delivered; `first_failed` is in seconds since 1970."""
    headers = {
        DESTINATION: destination,
        "evbus-dead-profile": event.profile,
        REASON: _text(reason),
        "evbus-dead-kind": kind,
        ATTEMPTS: attempts,
        "evbus-dead-first-failed": first_failed,
    }
    service = service_of(event)
    return headers if service is None else {**headers, SERVICE: service}


def unhandled(event: ReceivedEvent, queue: str, reason: str) -> dict[str, Any]:
    """Return the headers for a received event that its handler gave up, now."""
    return {
        REASON: _text(reason),
        ATTEMPTS: event.attempt,
        QUEUE: queue,
        ROUTING_KEY: event.routing_key[:MAX_TEXT],
        SERVICE: event.service[:MAX_TEXT],
        AT: round(time(), 3),
    }


def cut(headers: int = 0, **sizes: tuple[int, int]) -> dict[str, str]:
    """Return the header that says what a dead letter lacks because the whole event did not fit.

    `headers` is how many were left out, `sizes` are the bytes before and after: `cut(40, body=(1048576, 0))` gives
    "body 1048576 -> 0; headers 40".
    """
    parts = [f"{name} {before} -> {after}" for name, (before, after) in sizes.items() if before != after]
    return {CUT: "; ".join([*parts, f"headers {headers}"] if headers else parts)}


def _text(reason: str) -> str:
    """Shorten a reason; an error may quote text that is not valid UTF-8."""
    return reason[:MAX_REASON].encode(errors="backslashreplace").decode()

"""Expiry and priority of an event: headers, so that they survive the outbox, a table of PostgreSQL and a broker."""

from __future__ import annotations

import math
from collections.abc import Mapping
from time import time
from typing import Any

from evbus_like.engine.errors import BadEvent
from evbus_like.engine.suggest import shown

EXPIRES = "evbus-expires"  # the moment from which on nobody wants the event, in milliseconds since 1970
PRIORITY = "evbus-priority"  # RabbitMQ's, from 0; the larger one comes first
CHECKED = frozenset((EXPIRES, PRIORITY))
LONGEST = 31_536_000  # seconds: a year
SHORTEST = 0.001  # seconds
MOST_PRIORITY = 255
MOST_MOMENT = 2**53  # milliseconds

is_used = False  # whether an event of this process has ever had an expiry; lanes that open later look for it then


def with_options(headers: Any, expires: Any, priority: Any, start: float | None = None) -> dict[str, Any]:
    """Return an event's headers with the options of its put, which replace what the headers say; raises BadEvent.

    An expiry counts from `start`, or from now on.
    """
    if headers is not None and not isinstance(headers, Mapping):
        raise BadEvent(f"headers must be a mapping of names to plain values, not {type(headers).__name__}")
    made = dict(headers or {})
    if expires is not None:
        if problem := expires_problem(expires):
            raise BadEvent(f"expires {problem}")
        made[EXPIRES] = moment(time() if start is None else start, expires)
    if priority is not None:
        if problem := priority_problem(priority):
            raise BadEvent(f"priority {problem}")
        made[PRIORITY] = priority
    return made


def with_defaults(
    headers: Mapping[str, Any] | None, expires: float | None, priority: int | None, put_at: float
) -> dict[str, Any] | None:
    """Return an event's headers with what its profile says of those that its put did not give."""
    made = dict(headers or {})
    if expires is not None and EXPIRES not in made:
        made[EXPIRES] = moment(put_at, expires)
    if priority is not None and PRIORITY not in made:
        made[PRIORITY] = priority
    return made or None


def moment(start: float, expires: float) -> int:
    """Return when an event expires that was put at `start`."""
    return round((start + expires) * 1000)


def expires_problem(value: Any) -> str:
    """Return what is wrong with a number of seconds, or an empty string."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if is_number and SHORTEST <= value <= LONGEST:  # not for NaN
        return ""
    return f"must be seconds, from {SHORTEST:g} to {LONGEST} (a year), not {shown(value)}"


def priority_problem(value: Any) -> str:
    """Return what is wrong with a priority, or an empty string."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_PRIORITY:
        return ""
    return f"must be a whole number from 0 to {MOST_PRIORITY}, not {shown(value)}"


def header_problem(name: str, value: Any) -> str:
    """Return what is wrong with one of these headers that the caller has set itself, or an empty string."""
    if name == PRIORITY:
        return priority_problem(value)
    global is_used
    is_used = True
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MOST_MOMENT:
        return ""
    return f"is the moment of an expiry, in whole milliseconds since 1970, not {shown(value)}; say expires=seconds"


def can_expire(headers: Mapping[str, Any] | None) -> bool:
    """Whether an event with these headers has an expiry."""
    return headers is not None and EXPIRES in headers


def expired(headers: Mapping[str, Any], now: float) -> bool:
    """Whether the moment of an event's expiry has passed; what is no moment, which anybody may send, is none."""
    value = headers.get(EXPIRES)
    return value is not None and 0 < milliseconds(value) <= now * 1000


def milliseconds(value: Any) -> int:
    """Return a received moment, 0 if it is none: some sources have text for numbers."""
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if isinstance(value, str):
        value = int(value) if value.isascii() and value.isdecimal() and len(value) <= 16 else 0
    if isinstance(value, float):
        value = int(value) if math.isfinite(value) else 0
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MOST_MOMENT else 0

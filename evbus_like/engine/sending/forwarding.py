"""Forwarding: a dead letter in a form that the destinations of another profile take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from evbus_like.engine.dead_letter_headers import CUT, DESTINATION, REASON, cut
from evbus_like.engine.event import SERVICE_HEADER, Event, header_bytes
from evbus_like.engine.expiry import CHECKED
from evbus_like.engine.sending.lane import Lane

NOT_FORWARDED = CHECKED | {SERVICE_HEADER}
ROOM_FOR_CUT = 128  # bytes of the header that says what was cut


def fitted(event: Event, profile: str, why: Mapping[str, Any], lanes: Sequence[Lane]) -> Event | None:
    """Return a dead letter for these lanes: whole, else with fewer headers, else without its body; None if none fits.

    `why` is added to its headers. Headers that a destination acts on are left out, that of the event's service, whose
    handlers must not get it as an event, its expiry and priority, and the largest ones until the others fit.
    """
    copy = event.copy()
    copy.profile, copy.seq = profile, 0
    copy.attach(None)
    own = {name: value for name, value in (event.headers or {}).items() if name not in NOT_FORWARDED}
    for headers, body in _forms(own, event.body, why, lanes):
        copy.headers, copy.body = headers, body
        if all(_takes(lane, copy) for lane in lanes):
            return copy
    return None


def _forms(
    own: Mapping[str, Any], body: bytes, why: Mapping[str, Any], lanes: Sequence[Lane]
) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Yield smaller and smaller forms: headers and a body."""
    limit = min(lane.max_header_bytes for lane in lanes)
    reserved = {name for lane in lanes for name in lane.options.reserved_headers}
    plain = {name: value for name, value in own.items() if name not in reserved}
    if _size({**plain, **why}) > limit:
        plain = _largest_left_out(plain, limit - _size(why) - ROOM_FOR_CUT)
    reasons = why if _size(why) + ROOM_FOR_CUT <= limit else _largest_left_out(why, limit - ROOM_FOR_CUT)
    for kept, left in ((plain, body), ({}, body), ({}, b"")):
        said = cut(len(own) - len(kept) + len(why) - len(reasons), body=(len(body), len(left)))
        yield {**kept, **reasons, **(said if said[CUT] else {})}, left


def _largest_left_out(headers: Mapping[str, Any], most: int) -> dict[str, Any]:
    """Return the headers that fit, without the largest ones; what marks a dead letter, and its reason, go last."""
    kept = dict(headers)
    size = _size(kept)
    for name in sorted(headers, key=lambda each: (each in (DESTINATION, REASON), -header_bytes(each, headers[each]))):
        if size <= most:
            break
        size -= header_bytes(name, kept.pop(name))
    return kept


def _size(headers: Mapping[str, Any]) -> int:
    return sum(header_bytes(*each) for each in headers.items())


def _takes(lane: Lane, event: Event) -> bool:
    """Whether a lane takes a dead letter, which must say that it is one."""
    headers = event.headers or {}
    return (
        DESTINATION in headers
        and _size(headers) <= lane.max_header_bytes
        and len(event.body) <= lane.max_event_bytes
        and (lane.asks is None or lane.asks.refuse(event) is None)
    )

"""Copies of received events, for retries and dead letters: whole, or in a smaller form that says what was cut.

RabbitMQ closes the connection for properties that do not fit into one frame, and the channel for some values. What it
delivered may fill a frame already, so a copy has several forms, each smaller than the one before.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

from evbus_like.amqp import properties as props
from evbus_like.amqp.codec import BEFORE, pack_shortstr, pack_table
from evbus_like.amqp.deliveries import ATTEMPT, COUNT, DEATHS, OWN, ROUTING_KEY
from evbus_like.amqp.properties import Properties, encode
from evbus_like.engine import dead_letter_headers
from evbus_like.engine.dead_letter_headers import CUT, REASON, RETRY_CUT, UNHANDLED, cut
from evbus_like.engine.receiving.received import ReceivedEvent

NOT_COPIED = OWN | {COUNT, "CC", "BCC"}  # the last two would route the copy to other queues, too
DEATH = 2000  # bytes of the headers that RabbitMQ adds when a copy expires (x-death), with three names of queues
SHORT = 200  # bytes of a reason in the smaller forms
LEAST = (props.CONTENT_TYPE, props.CONTENT_ENCODING, props.CORRELATION_ID, props.REPLY_TO, props.MESSAGE_ID)

Form = Callable[[int], tuple[bytes, bytes]]  # from the bytes that a frame holds to the properties and the body


def for_retry(event: ReceivedEvent) -> list[Form]:
    """Return the forms of a copy that is handled again; each has the whole body."""
    ours = {ATTEMPT: event.attempt + 1, ROUTING_KEY: event.routing_key}
    return [
        lambda room: _fitting(event, RETRY_CUT, (ours,), room - DEATH),
        partial(_least, event, RETRY_CUT, ours),
    ]


def for_dead_letter(event: ReceivedEvent, queue: str, reason: str) -> list[Form]:
    """Return the forms of a dead letter; the last one has no body."""
    ours = dead_letter_headers.unhandled(event, queue, reason)
    short = {**ours, REASON: ours[REASON].encode()[:SHORT].decode(errors="ignore")}
    least = {REASON: short[REASON]}
    return [
        partial(_fitting, event, CUT, (ours, short, least)),
        partial(_least, event, CUT, least),
        partial(_least, event, CUT, least, without_body=True),
    ]


def for_replay(event: ReceivedEvent) -> Form:
    """Return the event of a dead letter as its handler saw it first, for the handler's own queue."""
    return partial(_again, event, UNHANDLED, {ATTEMPT: 1, ROUTING_KEY: type_of(event)})


def for_replay_by_type(event: ReceivedEvent) -> Form:
    """Return the event of a dead letter as it was put, to be sent with its own type as the routing key."""
    return partial(_again, event, UNHANDLED, {})


def type_of(event: ReceivedEvent) -> str:
    """Return the type that the event of a dead letter had."""
    return str(event.headers.get(dead_letter_headers.ROUTING_KEY) or event.routing_key)


def for_renewal(event: ReceivedEvent) -> Form:
    """Return a dead letter as it is, for the end of its queue."""
    return partial(_again, event, (), {})


def _again(event: ReceivedEvent, without: Collection[str], ours: Mapping[str, Any], _room: int) -> tuple[bytes, bytes]:
    properties = Properties(event.token.properties)
    own, unread = _own_headers(properties, {*without, *ours})
    if unread:
        raise ValueError("its headers cannot be read")
    return encode({**properties.copied, props.HEADERS: pack_table(ours, b"".join(own))}), event.raw


def _fitting(event: ReceivedEvent, mark: str, ours: tuple[Mapping[str, Any], ...], room: int) -> tuple[bytes, bytes]:
    """Return a copy with the first of our sets of headers that leaves room for the event's own.

    If none does, the largest of the event's own are left out. Raises ValueError if that does not suffice.
    """
    properties = Properties(event.token.properties)
    parts = properties.copied
    own, unread = _own_headers(properties, ours[0])
    space = room - BEFORE - len(encode({**parts, props.HEADERS: b""})) - sum(map(len, own))
    for headers in () if unread else ours:
        table = pack_table(headers, b"".join(own))
        if len(table) - sum(map(len, own)) <= space:
            return encode({**parts, props.HEADERS: table}), event.raw
    headers = {**ours[len(ours) // 2], mark: f"headers {len(own) + unread}"}  # no value below is longer
    own = sorted((entry for entry in own if not entry.startswith(pack_shortstr(mark))), key=len)
    left_out = unread
    space -= len(pack_table(headers))
    while own and space < 0:
        space += len(own.pop())
        left_out += 1
    if space < 0:
        raise ValueError("its properties do not fit into a frame")
    table = pack_table({**headers, mark: f"headers {left_out}"}, b"".join(own))
    return encode({**parts, props.HEADERS: table}), event.raw


def _least(
    event: ReceivedEvent, mark: str, ours: Mapping[str, Any], room: int, without_body: bool = False
) -> tuple[bytes, bytes]:
    """Return a copy with our headers alone, and without the properties that handling it does not need."""
    properties = Properties(event.token.properties)
    parts = {flag: part for flag, part in properties.copied.items() if flag in LEAST}
    own, unread = _own_headers(properties, ours)
    body = b"" if without_body else event.raw
    what = cut(len(own) + unread, body=(len(event.raw), len(body)))[CUT]
    table = pack_table({**ours, mark: f"{what}; other properties" if what else "other properties"})
    return encode({**parts, props.HEADERS: table}), body


def _own_headers(properties: Properties, ours: Collection[str]) -> tuple[list[bytes], int]:
    """Return the event's own headers, encoded, and 1 if what comes after them cannot be read."""
    found: list[bytes] = []
    entries = properties.entries()
    while True:
        try:
            name, entry = next(entries)
        except StopIteration:
            return found, 0
        except Exception:  # RabbitMQ would refuse the rest
            return found, 1
        if name not in NOT_COPIED and name not in ours and not name.startswith(DEATHS):
            found.append(entry)

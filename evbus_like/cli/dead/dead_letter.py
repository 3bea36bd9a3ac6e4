"""A dead letter as text and as plain data."""

from __future__ import annotations

from typing import Any

from evbus_like.cli import shown
from evbus_like.engine.outbox import DeadLetter


def as_dict(letter: DeadLetter) -> dict[str, Any]:
    """Return plain data for JSON, with the body if it was read. Times are in seconds since 1970."""
    event = letter.event
    data = {
        "number": letter.number,
        "destination": letter.destination,
        "reason": letter.reason,
        "kind": letter.kind,
        "attempts": letter.attempts,
        "put": event.timestamp,
        "first_failed": letter.first_failed,
        "died": letter.died,
        "size": letter.size,
        "id": event.id,
        "profile": event.profile,
        "routing_key": event.routing_key,
        "key": shown.plain(event.key),
        "headers": {name: shown.plain(value) for name, value in (event.headers or {}).items()},
        "content_type": event.content_type,
    }
    if event.body is not None:
        data["body"], data["encoding"] = shown.encoded(event.body)
    return data


def as_text(letter: DeadLetter) -> str:
    """Return a line for each fact, and the body below."""
    event = letter.event
    failed = letter.first_failed
    lines = {
        "dead letter": letter.number,
        "destination": letter.destination,
        "reason": letter.reason,
        "kind": letter.kind,
        "attempts": letter.attempts,
        "put": shown.moment(event.timestamp),
        "first failed": "unknown" if failed is None else shown.moment(failed),
        "given up": shown.moment(letter.died),
        "id": event.id,
        "profile": event.profile,
        "routing key": event.routing_key,
        "key": "none" if event.key is None else event.key,
        "content type": event.content_type,
        "headers": "none" if not event.headers else "",
    }
    text = [f"{name + ':':14}{shown.visible(str(value))}".rstrip() for name, value in lines.items()]
    text += [shown.visible(f"  {name}: {value!r}") for name, value in (event.headers or {}).items()]
    body, how = shown.readable(event.body)
    return "\n".join([*text, f"body ({shown.size(len(event.body))}, shown as {how}):", body])

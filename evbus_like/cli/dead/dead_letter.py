"""A dead letter as text and as plain data."""

from __future__ import annotations

from typing import Any

from evbus_like.cli import shown
from evbus_like.cli.dead.places import OUTBOX, Place
from evbus_like.engine.receiving.look import FoundLetter


def as_dict(letter: FoundLetter, place: Place) -> dict[str, Any]:
    """Return plain data for JSON, with the body if it was read. Times are in seconds since 1970, null if unknown."""
    stored = place.source == OUTBOX
    data = {
        "place": place.source,
        "name": letter.name,
        "number": letter.token if stored else None,
        "destination": letter.owner if stored else None,
        "handler": None if stored else letter.owner,
        "queue": None if stored else place.where,
        "path": place.where if stored else None,
        "reason": letter.reason,
        "kind": letter.kind,
        "attempts": letter.attempts,
        "put": letter.put,
        "first_failed": letter.first_failed,
        "died": letter.died,
        "size": letter.size,
        "id": letter.id,
        "profile": letter.profile,
        "routing_key": letter.routing_key,
        "key": shown.plain(letter.key),
        "headers": {name: shown.plain(value) for name, value in letter.headers.items()},
        "content_type": letter.content_type,
        "cut": letter.cut,
    }
    if letter.body is not None:
        data["body"], data["encoding"] = shown.encoded(letter.body)
    return data


def as_text(letter: FoundLetter, place: Place) -> str:
    """Return a line for each fact, and the body below."""
    stored = place.source == OUTBOX
    lines = {
        "dead letter": letter.name,
        "destination" if stored else "handler": letter.owner,
        "place": place,
        "reason": letter.reason,
        "kind": letter.kind or "unknown",
        "attempts": letter.attempts,
        "put": _moment(letter.put),
        "first failed": _moment(letter.first_failed),
        "given up": _moment(letter.died),
        "id": letter.id or "none",
        "profile": letter.profile or "unknown",
        "routing key": letter.routing_key,
        "key": "none" if letter.key is None else letter.key,
        "content type": letter.content_type or "none",
        "cut": letter.cut or "nothing",
        "headers": "none" if not letter.headers else "",
    }
    body = letter.body or b""
    text = [f"{name + ':':14}{shown.visible(str(value))}".rstrip() for name, value in lines.items()]
    text += [shown.visible(f"  {name}: {value!r}") for name, value in letter.headers.items()]
    readable, how = shown.readable(body)
    return "\n".join([*text, f"body ({shown.size(len(body))}, shown as {how}):", readable])


def _moment(when: float | None) -> str:
    return "unknown" if when is None else shown.moment(when)

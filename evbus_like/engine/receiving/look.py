"""A look at the dead letters of one place: what it finds, and what can be done with it."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from evbus_like.engine import dead_letter_headers
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.receiving.subscription import Subscription


@dataclass(slots=True)
class FoundLetter:
    """A dead letter as a look found it; times are seconds since 1970, None if they are not known.

    `name` names it in its place, `owner` is the handler, SERVICE.NAME, or the destination that it was for. `headers`
    are those of the event itself. `body` is None where the look does not read bodies. `cut` says what the letter lacks
    because the whole event did not fit. `token` is the look's own.
    """

    name: str
    owner: str
    reason: str
    attempts: int
    died: float | None
    routing_key: str
    id: str
    kind: str = ""
    put: float | None = None
    first_failed: float | None = None
    size: int = 0
    profile: str = ""
    key: Any = None
    headers: Mapping[str, Any] = field(default_factory=dict)
    content_type: str = ""
    body: bytes | None = None
    cut: str = ""
    token: Any = None


class Look(Protocol):
    """A look at one place, from its oldest dead letter to the newest that was there when the look began.

    What is neither replayed nor removed stays there. `unseen` says, after the last page, why the look did not see
    everything; it is empty if it did.
    """

    expected: int
    unseen: str

    def pages(self) -> AsyncGenerator[Sequence[FoundLetter], None]:
        """Yield the letters, some at a time; only those of the latest page can be replayed or removed.

        Raises a DeliveryError if the place is lost.
        """

    async def replay(self, letters: Sequence[FoundLetter], to: str) -> Sequence[str]:
        """Give events back to their own queue or destination, or `to` another, as they were before they failed.

        Each leaves this place when it is safe in the other. Returns the problem of each, an empty string for none.
        """

    async def remove(self, letters: Sequence[FoundLetter]) -> Sequence[str]:
        """Delete letters; returns the problem of each, an empty string for none."""

    async def close(self) -> None:
        """End the look; raises a DeliveryError if a letter may not be back in its place."""


def found(event: ReceivedEvent, subscription: Subscription, token: Any, died: float | None = None) -> FoundLetter:
    """Return the dead letter that a handler left, as an event; `died` is for events without that header."""
    headers = event.headers
    return FoundLetter(
        name=event.id or hashlib.sha256(event.raw).hexdigest()[:16],
        owner=f"{subscription.service}.{subscription.name}",
        reason=str(headers.get(dead_letter_headers.REASON) or "unknown"),
        attempts=int(_number(headers.get(dead_letter_headers.ATTEMPTS)) or 0),
        died=_number(headers.get(dead_letter_headers.AT)) or died,
        routing_key=str(headers.get(dead_letter_headers.ROUTING_KEY) or event.routing_key),
        id=event.id,
        put=event.timestamp or None,
        size=len(event.raw),
        key=event.key,
        headers={name: value for name, value in headers.items() if name not in dead_letter_headers.UNHANDLED},
        content_type=event.content_type,
        body=event.raw,
        cut=str(headers.get(dead_letter_headers.CUT) or ""),
        token=token,
    )


def _number(value: Any) -> float | None:
    """Return a header's number; strangers may have written anything into it."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if 0 <= number < 1e12 else None

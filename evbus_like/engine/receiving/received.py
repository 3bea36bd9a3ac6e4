"""A received event: what a source gives, and what a handler gets."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any


class ReceivedEvent:
    """One event on its way to a handler.

    `raw` are the bytes that arrived; `body` is what they mean, decoded by `content_type`. `routing_key` is the event's
    type and `service` the service that it came from. `redelivered` says that the source gave it before; `attempt`
    counts the handlings, from 1, as far as the source can know. `timestamp` is in seconds since 1970, 0.0 if unknown.

    `reply_to` and `correlation_id` are those of a request, or of its answer; empty for events.

    `order` is for the source: events of the same order are handled one after another, None means that any order will
    do. `token` is the source's own, to settle the event by. `busy` says that a handler is at work on it. A source that
    has taken an event back (a partition went to somebody else) sets `revoked`: no handler begins it any more.
    """

    __slots__ = (
        "attempt",
        "body",
        "busy",
        "content_type",
        "correlation_id",
        "headers",
        "id",
        "order",
        "raw",
        "redelivered",
        "reply_to",
        "revoked",
        "routing_key",
        "service",
        "timestamp",
        "token",
    )

    def __init__(
        self,
        raw: bytes,
        routing_key: str = "",
        service: str = "",
        id: str = "",
        headers: Mapping[str, Any] | None = None,
        content_type: str = "",
        timestamp: float = 0.0,
        redelivered: bool = False,
        attempt: int = 1,
        order: Hashable = None,
        token: Any = None,
        reply_to: str = "",
        correlation_id: str = "",
    ) -> None:
        self.raw = raw
        self.body: Any = None
        self.routing_key = routing_key
        self.service = service
        self.id = id
        self.headers: Mapping[str, Any] = headers or {}
        self.content_type = content_type
        self.timestamp = timestamp
        self.redelivered = redelivered
        self.attempt = attempt
        self.order = order
        self.token = token
        self.reply_to = reply_to
        self.correlation_id = correlation_id
        self.busy = False
        self.revoked = False

    def __str__(self) -> str:
        place = f"{self.service}.{self.routing_key}" if self.service else self.routing_key
        return f"{place or 'an event'} {self.id or 'without an id'}"

    def __repr__(self) -> str:  # bodies and headers may hold secrets
        return f"<ReceivedEvent {self} attempt={self.attempt}>"

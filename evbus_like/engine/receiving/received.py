"""A received event: made by a source, and given to a handler."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from evbus_like.engine.errors import EvbusError


class BadBody(EvbusError):
    """A received body that cannot be decoded; `quotes` says that the text may quote the body."""

    def __init__(self, reason: str, quotes: bool = False) -> None:
        super().__init__(reason)
        self.quotes = quotes


class ReceivedEvent:
    """One event on its way to a handler.

    `raw` are the received bytes; `body` is decoded from them by `content_type`. `routing_key` is the event's type and
    `service` its service. `redelivered` says that the source delivered it before; `attempt` counts from 1, as far as
    the source knows. `timestamp` is in seconds since 1970, 0.0 if unknown. `content_encoding` says how `raw` is
    compressed, such as gzip, if the source has a field for it; else a header of that name does.

    `reply_to` and `correlation_id` are those of a request, or of its answer; empty for events.

    `order` is set by the source: events of the same order are handled one after another, those with None in any order.
    `token` is the source's own, to settle the event by. `busy` is set while a handler runs. A source that takes an
    event back (another worker got its partition) sets `revoked`; then no handler begins it. `may_repeat` says that it
    may have been delivered before although the source does not say so: it is among the first of a feed or partition.
    """

    __slots__ = (
        "attempt",
        "body",
        "busy",
        "content_encoding",
        "content_type",
        "correlation_id",
        "headers",
        "id",
        "may_repeat",
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
        content_encoding: str = "",
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
        self.content_encoding = content_encoding
        self.busy = self.may_repeat = False
        self.revoked = False

    def __str__(self) -> str:
        place = f"{self.service}.{self.routing_key}" if self.service else self.routing_key
        text = f"{place or 'an event'} {self.id or 'without an id'}"
        return text if text.isprintable() else ascii(text)[1:-1]  # a stranger may have written line breaks into it

    def __repr__(self) -> str:  # bodies and headers may hold secrets
        return f"<ReceivedEvent {self} attempt={self.attempt}>"


class BodilessEvent(ReceivedEvent):
    """A received event whose `raw` is empty because it has no body: its `body` is None, whatever the content type.

    `problem` says what is wrong with an event that cannot be read, which becomes a dead letter; usually it is empty.
    """

    __slots__ = ("problem",)
    problem: str

"""A received event: made by a source, and given to a handler."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from evbus_like.engine.errors import EvbusError, HandlerError
from evbus_like.engine.suggest import printable


class BadBody(EvbusError):
    """A received body that cannot be decoded; `quotes` says that the text may quote the body."""

    def __init__(self, reason: str, quotes: bool = False) -> None:
        super().__init__(reason)
        self.quotes = quotes


class ReceivedEvent:
    """One event on its way to a handler.

    `raw` are the received bytes; `body` is decoded from them by `content_type`. `routing_key` is the event's type and
    `service` its service. `redelivered` says that the source delivered it before; `attempt` counts from 1, as far as
    the source knows. `key` is the sender's, bytes if it is not UTF-8, None without one. `timestamp` is in seconds since
    1970, 0.0 if unknown. `content_encoding` says how `raw` is compressed, such as gzip, if the source has a field for
    it; else a header of that name does.

    `transaction` is the connection of a handler with `inbox=`.

    `reply_to` and `correlation_id` are those of a request, or of its answer; empty for events.

    `order` is set by the source: events of the same order are handled one after another, those with None in any order.
    `token` is the source's own, to settle the event by. `busy` is set while a handler runs. A source that takes an
    event back (another worker got its partition) sets `revoked`; then no handler begins it. `may_repeat` says that it
    may have been delivered before although the source does not say so: it is among the first of a feed or partition.

    `cloudevent` are the attributes of a CloudEvent by name (id, source, type, ...), None for other events.
    """

    __slots__ = (
        "_cloudevent",
        "_transaction",
        "attempt",
        "body",
        "busy",
        "content_encoding",
        "content_type",
        "correlation_id",
        "headers",
        "id",
        "key",
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
        key: str | bytes | None = None,
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
        self.key = key
        self.busy = self.may_repeat = False
        self.revoked = False

    @property
    def cloudevent(self) -> Mapping[str, Any] | None:
        """The attributes of a CloudEvent that was decoded; None for other events."""
        return getattr(self, "_cloudevent", None)

    @cloudevent.setter
    def cloudevent(self, attributes: Mapping[str, Any]) -> None:
        self._cloudevent = attributes

    @property
    def transaction(self) -> Any:
        """The connection of a handler with `inbox=`, in the transaction that is committed before the event is settled.

        Raises HandlerError in a handler without it, and after the handler has returned.
        """
        connection = getattr(self, "_transaction", None)
        if connection is None:
            raise HandlerError(
                "event.transaction is there while a handler with inbox= runs; in a test, `handling(postgres=...)` or"
                " `bus.call(..., transaction=...)` gives one"
            )
        return connection

    @transaction.setter
    def transaction(self, connection: Any) -> None:
        self._transaction = connection

    def __str__(self) -> str:
        place = f"{self.service}.{self.routing_key}" if self.service else self.routing_key
        return printable(f"{place or 'an event'} {self.id or 'without an id'}")

    def __repr__(self) -> str:  # bodies and headers may hold secrets
        return f"<ReceivedEvent {self} attempt={self.attempt}>"


class BodilessEvent(ReceivedEvent):
    """A received event whose `raw` is empty because it has no body: its `body` is None, whatever the content type.

    `problem` says what is wrong with an event that cannot be read, which becomes a dead letter; usually it is empty.
    """

    __slots__ = ("problem",)
    problem: str

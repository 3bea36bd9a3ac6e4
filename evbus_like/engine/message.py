"""A letter: one message of a call on its way out, a request or an answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Outcome = Callable[[Exception | None], None]


class Message:
    """What a source sends for a call.

    It goes to `exchange` with `routing_key`. `reply_to` is the routing key of the answer, `correlation_id` tells which
    request it answers. A `must_arrive` letter that nobody receives is given back as Unroutable. `expires` is in
    seconds: nobody has to deliver the letter after that.
    """

    __slots__ = (
        "body",
        "content_type",
        "correlation_id",
        "exchange",
        "expires",
        "headers",
        "id",
        "must_arrive",
        "reply_to",
        "routing_key",
        "told",
    )

    def __init__(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        id: str,
        correlation_id: str = "",
        reply_to: str = "",
        headers: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
        must_arrive: bool = False,
        expires: float | None = None,
    ) -> None:
        self.exchange = exchange
        self.routing_key = routing_key
        self.body = body
        self.id = id
        self.correlation_id = correlation_id
        self.reply_to = reply_to
        self.headers = headers
        self.content_type = content_type
        self.must_arrive = must_arrive
        self.expires = expires
        self.told: Outcome | None = None  # hears what becomes of it

    def settle(self, error: Exception | None) -> None:
        """Say what became of it: the source has it, or an error; only the first word counts.

        Unroutable: nobody wants it. TransientError: the source has it not, for sure. UnknownOutcome: nobody knows.
        """
        told, self.told = self.told, None
        if told is not None:
            told(error)

    def __repr__(self) -> str:  # the body may hold secrets
        return f"<Letter {self.routing_key} correlation_id={self.correlation_id}>"

"""Puts events that pass the application's middleware first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evbus_like.engine.bus import Bus
from evbus_like.engine.errors import BadEvent, Refused
from evbus_like.engine.event import SERVICE_HEADER
from evbus_like.engine.middleware import EVENT, Middleware, MiddlewareMessage
from evbus_like.engine.put import Confirm, Putter
from evbus_like.engine.receipt import Receipt


class MiddlewarePutter(Putter):
    """Puts events that pass the middleware first."""

    def __init__(self, bus: Bus, timeout: float, middleware: Middleware) -> None:
        super().__init__(bus, timeout)
        self._middleware = middleware

    def put_nowait(
        self,
        routing_key: Any = "",
        body: Any = None,
        profile: Any = "default",
        headers: Any = None,
        key: Any = None,
        within: Any = None,
        **options: Any,
    ) -> str:
        """Queue an event; raises BadEvent too if a middleware refuses it."""
        message = _message(routing_key, body, headers)
        try:
            self._middleware.outgoing_now(message)
        except Refused as error:
            raise BadEvent(str(error)) from error
        return super().put_nowait(routing_key, message.body, profile, _headers(message), key, within, **options)

    async def put(
        self,
        routing_key: Any = "",
        body: Any = None,
        profile: Any = "default",
        headers: Any = None,
        key: Any = None,
        confirm: Confirm = "accepted",
        timeout: float | None = None,
        within: Any = None,
        **options: Any,
    ) -> Receipt:
        """Put an event; raises BadEvent too if a middleware refuses it."""
        message = _message(routing_key, body, headers)
        try:
            await self._middleware.outgoing(message)
        except Refused as error:
            raise BadEvent(str(error)) from error
        headers = _headers(message)
        return await super().put(routing_key, message.body, profile, headers, key, confirm, timeout, within, **options)


def _message(routing_key: Any, body: Any, headers: Any) -> MiddlewareMessage:
    if headers is not None and not isinstance(headers, Mapping):
        raise BadEvent(f"headers must be a mapping of names to plain values, not {type(headers).__name__}")
    return MiddlewareMessage(EVENT, str((headers or {}).get(SERVICE_HEADER) or ""), str(routing_key), body, headers)


def _headers(message: MiddlewareMessage) -> dict[str, Any] | None:
    """Return the headers of an event that the middleware has passed; raises BadEvent if it answered the event."""
    if message.is_answered:
        raise BadEvent("a middleware answered an event that is put, and an event has no answer: evbus.refuse(reason)")
    return message.headers or None

"""Loads the plugins of the middleware dyne, which see what is put before the engine does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from evbus_like.engine.errors import BadEvent, HandlerError, Refused
from evbus_like.engine.event import SERVICE_HEADER
from evbus_like.engine.put import Confirm, Putter
from evbus_like.hub import plugins
from evbus_like.hub.runtime import Hub, bind_puts

if TYPE_CHECKING:
    from evbus_like.engine.bus import Bus
    from evbus_like.engine.middleware import Middleware, MiddlewareMessage
    from evbus_like.engine.receipt import Receipt

VERBS = ("incoming", "outgoing")


def load(hub: Hub) -> Middleware | None:
    """Return the hub's middleware in the order of the plugins' names, None if there is none; raises HandlerError."""
    hub.pop.sub.add(dyne_name="middleware")
    if "middleware" not in hub.evbus.RUNTIME.broken:
        hub.evbus.RUNTIME.broken["middleware"] = plugins.broken(hub.middleware)
    wrong = [
        f"the middleware plugin {name!r} could not be loaded: {reason}"
        for name, reason in hub.evbus.RUNTIME.broken["middleware"].items()
    ]
    found = sorted(plugins.loaded(hub, "middleware").items())
    wrong += [
        f"the middleware plugin {name!r} has neither incoming(hub, message) nor outgoing(hub, message)"
        for name, plugin in found
        if not set(VERBS) & set(plugin._funcs)
    ]
    if wrong:
        raise HandlerError("\n  ".join(wrong))
    if not found:
        return None
    from evbus_like.engine.middleware import Hook, Middleware  # only if needed: a start stays short

    hooks = {
        verb: [
            Hook(f"middleware.{name}.{verb}", plugins.unwrapped(hub, plugin._funcs[verb]))
            for name, plugin in found
            if verb in plugin._funcs
        ]
        for verb in VERBS
    }
    return Middleware(hooks["incoming"], hooks["outgoing"])


def begin(hub: Hub) -> None:
    """Load the middleware for a bus that starts; what is put passes it if it has hooks; raises HandlerError."""
    now = hub.evbus.RUNTIME
    now.middleware = load(hub)
    if now.middleware is not None and now.middleware.looks_at_what_goes_out:
        now.putter = MiddlewarePutter(now.bus, now.putter.timeout, now.middleware)
    elif type(now.putter) is not Putter:
        now.putter = Putter(now.bus, now.putter.timeout)
    else:
        return
    bind_puts(hub)


class MiddlewarePutter(Putter):
    """Puts events that pass the middleware first."""

    def __init__(self, bus: Bus, timeout: float, middleware: Middleware) -> None:
        super().__init__(bus, timeout)
        self._middleware = middleware

    def put_nowait(
        self, routing_key: Any = "", body: Any = None, profile: Any = "default", headers: Any = None, key: Any = None
    ) -> str:
        """Queue an event; raises BadEvent too if a middleware refuses it."""
        message = _message(routing_key, body, headers)
        try:
            self._middleware.outgoing_now(message)
        except Refused as error:
            raise BadEvent(str(error)) from error
        return super().put_nowait(routing_key, message.body, profile, _headers(message), key)

    async def put(
        self,
        routing_key: Any = "",
        body: Any = None,
        profile: Any = "default",
        headers: Any = None,
        key: Any = None,
        confirm: Confirm = "accepted",
        timeout: float | None = None,
    ) -> Receipt:
        """Put an event; raises BadEvent too if a middleware refuses it."""
        message = _message(routing_key, body, headers)
        try:
            await self._middleware.outgoing(message)
        except Refused as error:
            raise BadEvent(str(error)) from error
        return await super().put(routing_key, message.body, profile, _headers(message), key, confirm, timeout)


def _message(routing_key: Any, body: Any, headers: Any) -> MiddlewareMessage:
    from evbus_like.engine.middleware import EVENT, MiddlewareMessage

    if headers is not None and not isinstance(headers, Mapping):
        raise BadEvent(f"headers must be a mapping of names to plain values, not {type(headers).__name__}")
    return MiddlewareMessage(EVENT, str((headers or {}).get(SERVICE_HEADER) or ""), str(routing_key), body, headers)


def _headers(message: MiddlewareMessage) -> dict[str, Any] | None:
    """Return the headers of an event that the middleware has passed; raises BadEvent if it answered the event."""
    if message.is_answered:
        raise BadEvent("a middleware answered an event that is put, and an event has no answer: evbus.refuse(reason)")
    return message.headers or None

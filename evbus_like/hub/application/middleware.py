"""Loads the plugins of the middleware dyne, and wraps the ways to put with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from evbus_like.engine.errors import BadEvent, HandlerError, Refused
from evbus_like.engine.event import SERVICE_HEADER, service_headers
from evbus_like.hub import plugins
from evbus_like.hub.runtime import Hub

if TYPE_CHECKING:
    from evbus_like.engine.middleware import Middleware, MiddlewareMessage

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
    """Load the middleware for a bus that starts, and wrap the ways to put if it has hooks; raises HandlerError."""
    through = hub.evbus.RUNTIME.middleware = load(hub)
    broker = hub.evbus.broker
    if through is None or not through.looks_at_what_goes_out or getattr(broker.put, "passes_middleware", False):
        return
    plain, plain_nowait = broker.put, broker.put_nowait

    async def put(
        routing_key: Any = "", body: Any = None, profile: Any = "default", headers: Any = None, *more: Any, **named: Any
    ) -> Any:
        through = hub.evbus.RUNTIME.middleware
        if through is not None:
            message = _message(routing_key, body, headers)
            try:
                await through.outgoing(message)
            except Refused as error:
                raise BadEvent(str(error)) from error
            body, headers = _passed(message)
        return await plain(routing_key, body, profile, headers, *more, **named)

    def put_nowait(
        routing_key: Any = "", body: Any = None, profile: Any = "default", headers: Any = None, *more: Any, **named: Any
    ) -> Any:
        through = hub.evbus.RUNTIME.middleware
        if through is not None:
            message = _message(routing_key, body, headers)
            try:
                through.outgoing_now(message)
            except Refused as error:
                raise BadEvent(str(error)) from error
            body, headers = _passed(message)
        return plain_nowait(routing_key, body, profile, headers, *more, **named)

    async def dispatch(
        service: Any,
        event_type: Any,
        body: Any,
        profile: Any = "default",
        headers: Any = None,
        *more: Any,
        **named: Any,
    ) -> Any:
        return await broker.put(
            event_type, body, profile, service_headers(service, event_type, headers), *more, **named
        )

    def dispatch_nowait(
        service: Any,
        event_type: Any,
        body: Any,
        profile: Any = "default",
        headers: Any = None,
        *more: Any,
        **named: Any,
    ) -> Any:
        headers = service_headers(service, event_type, headers)
        return broker.put_nowait(event_type, body, profile, headers, *more, **named)

    put.passes_middleware = True  # type: ignore[attr-defined]
    broker.put, broker.put_nowait = put, put_nowait
    if not getattr(broker.dispatch, "_has_contracts", False):
        broker.dispatch, broker.dispatch_nowait = dispatch, dispatch_nowait


def _message(routing_key: Any, body: Any, headers: Any) -> MiddlewareMessage:
    from evbus_like.engine.middleware import EVENT, MiddlewareMessage

    if headers is not None and not isinstance(headers, Mapping):
        raise BadEvent(f"headers must be a mapping of names to plain values, not {type(headers).__name__}")
    return MiddlewareMessage(EVENT, str((headers or {}).get(SERVICE_HEADER) or ""), str(routing_key), body, headers)


def _passed(message: MiddlewareMessage) -> tuple[Any, Any]:
    if message.is_answered:
        raise BadEvent("a middleware answered an event that is put, and an event has no answer: evbus.refuse(reason)")
    return message.body, message.headers or None

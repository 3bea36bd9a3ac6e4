"""The interface of the application on a hub: its declared events, and the handlers and services that run."""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING, Any, cast

from evbus_like.engine.errors import DeclarationError
from evbus_like.hub.runtime import Hub
from evbus_like.monitor.interface import Event, Handler, Interface, Method

if TYPE_CHECKING:
    from evbus_like.engine.receiving.consumer import Consumer
    from evbus_like.engine.rpc.service import Method as Served


def of(hub: Hub) -> Interface:
    """Return it as plain data; events whose declaration is wrong are left out."""
    runtime = hub.evbus.RUNTIME
    handlers = [] if runtime.handlers is None else [_handler(hub, each) for each in runtime.handlers.consumers]
    services = [] if runtime.services is None else [*runtime.services.consumers]
    found: Interface = {
        "events": [_event(each) for each in hub.evbus.events.listed()],
        "handlers": sorted(handlers, key=lambda row: (row["handler"], row["source"])),
        "services": [row for each in services for row in _methods(hub, each)],
    }
    return cast("Interface", json.loads(json.dumps(found, default=str)))  # defaults of arguments may be anything


def _event(event: Any) -> Event:
    return {
        "service": event.service,
        "event": event.name,
        "profile": event.profile,
        "about": event.declaration.doc,
        "schema": event.schema(),
    }


def _handler(hub: Hub, consumer: Consumer) -> Handler:
    handler, subscription = consumer.invoker.handler, consumer.subscription
    return {
        "handler": f"{handler.service}.{handler.name}",
        "of": subscription.source,
        "events": [*subscription.event_types],
        "source": consumer.source.name,
        "delivery": subscription.delivery + ("" if subscription.reliable else ", not reliable"),
        "queue": subscription.queue,
        "on_error": handler.options.on_error,
        "about": inspect.getdoc(_function(hub, handler.ref)) or "",
        "function": f"hub.{handler.ref}",
    }


def _methods(hub: Hub, consumer: Consumer) -> list[Method]:
    invoker: Any = consumer.invoker
    methods: dict[str, Served] = invoker.methods
    return [_method(hub, methods[name], consumer.source.name) for name in sorted(methods)]


def _method(hub: Hub, method: Served, source: str) -> Method:
    function = _function(hub, method.ref)
    return {
        "service": method.service,
        "method": method.name,
        "call": str(method),
        "source": source,
        "about": inspect.getdoc(function) or "",
        "function": f"hub.{method.ref}",
        "schema": _arguments(method, function),
    }


def _arguments(method: Served, function: Any) -> dict[str, Any] | None:
    """Return the schema of a method's arguments, by name; None if its hints are not those of a declared event."""
    from evbus_like.engine.declared import schema  # they import msgspec
    from evbus_like.engine.declared.declaration import declare

    try:
        return schema.schema(declare(method.service, method.name, function))
    except DeclarationError:
        return None


def _function(hub: Hub, ref: str) -> Any:
    """Return the function at a place on the hub, without what pop has wrapped around it."""
    found = hub[ref]
    return getattr(found, "func", found)

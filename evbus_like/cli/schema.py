"""`evbus schema`: print the declared events as a JSON Schema, or the application as an AsyncAPI document or a page."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from evbus_like.cli import application, console, output
from evbus_like.cli.handlers import HERE
from evbus_like.engine.declared import asyncapi, schema
from evbus_like.engine.declared.asyncapi import Received, Served
from evbus_like.engine.declared.declaration import declare
from evbus_like.engine.errors import DeclarationError
from evbus_like.engine.rpc.subscriptions import EXCHANGE
from evbus_like.hub.application import handlers, rpc_proxy, services
from evbus_like.hub.application.binding import subscription_of


async def run(hub: Any) -> int:
    """Print the document; raises DeclarationError or HandlerError if something of the application is wrong."""
    application.load(hub)
    settings = hub.OPT.evbus_like  # with the defaults of the applications
    hub.evbus.RUNTIME.events.must_be_sound()
    declarations = [event.declaration for event in hub.evbus.events.listed()]
    if not settings.asyncapi and not settings.html:
        console.document(schema.document(declarations))
        return 0
    rpc_proxy.calls(hub).begin()  # reads the services file
    made = asyncapi.document(declarations, settings.title, settings.api_version, _received(hub), _served(hub))
    if settings.html:
        from evbus_like.cli.schema_page import page

        print(page(made), file=output.results())
    else:
        console.document(made)
    return 0


def _received(hub: Any) -> Iterator[Received]:
    handlers.load(hub)
    for each in handlers.found(hub, hub.OPT.evbus_like.only, hub.OPT.evbus_like.skip):
        subscription = subscription_of(hub, each, HERE)
        declared = {name: event.declaration for name, event in each.declared.items()}
        about = inspect.getdoc(_function(hub, each.ref)) or ""
        yield Received(
            f"{each.service}.{each.name}",
            subscription.source,
            subscription.event_types,
            subscription.queue,
            about,
            declared,
        )


def _served(hub: Any) -> Iterator[Served]:
    services.load(hub)
    for service, (_, methods) in services.found(hub, hub.OPT.evbus_like.only, hub.OPT.evbus_like.skip).items():
        exchange = rpc_proxy.calls(hub).route(service).exchange or EXCHANGE
        for name in sorted(methods):
            function = _function(hub, methods[name].ref)
            try:
                arguments = declare(service, name, function)
            except DeclarationError:
                arguments = None
            yield Served(service, name, exchange, inspect.getdoc(function) or "", arguments)


def _function(hub: Any, ref: str) -> Any:
    """Return the function at a place on the hub, without what pop has wrapped around it."""
    found = hub[ref]
    return getattr(found, "func", found)

"""From the plugins of the service dyne to the consumers that serve them."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from typing import Any

from evbus_like import handlers as marks
from evbus_like.bridge import plugins
from evbus_like.bridge.decoding import decoder
from evbus_like.bridge.handlers import among
from evbus_like.bridge.source import PluginSource
from evbus_like.bridge.sources import Sources
from evbus_like.engine.consuming.consumer import Consumer
from evbus_like.engine.consuming.group import Group
from evbus_like.engine.errors import EvbusError, HandlerError
from evbus_like.engine.rpc.method import Method
from evbus_like.engine.rpc.post import Post
from evbus_like.engine.rpc.server import Server
from evbus_like.engine.rpc.subscriptions import EXCHANGE, requests

WORKERS = 10  # requests of a service that are answered at once


def found(hub: Any, only: Collection[str] = (), skip: Collection[str] = ()) -> dict[str, tuple[Any, dict[str, Method]]]:
    """Give the services of the hub, by name: the plugin and its methods; raises HandlerError."""
    wrong = [
        f"the service plugin {name!r} could not be loaded: {reason}"
        for name, reason in hub.evbus.BROKEN.get("service", {}).items()
    ]
    made: dict[str, tuple[Any, dict[str, Method]]] = {}
    for plugin_name, plugin in plugins.loaded(hub, "service").items():
        service = str(getattr(plugin, "SERVICE", "") or plugin_name)
        if service in made:
            wrong.append(
                f"service.{plugin_name}: another plugin is the service {service!r} already: {made[service][0]}"
            )
            continue
        methods = {
            name: _method(hub, f"service.{plugin_name}.{name}", service, name, function)
            for name, function in plugin._funcs.items()
            if not name.startswith("_")
            and not (only and not among(service, name, only))
            and not among(service, name, skip)
        }
        if methods:
            made[service] = (plugin, methods)
    if wrong:
        raise HandlerError(wrong[0] if len(wrong) == 1 else "\n  ".join(["these services cannot be used:", *wrong]))
    return made


def _method(hub: Any, ref: str, service: str, name: str, function: Any) -> Method:
    signature = inspect.signature(function.func)
    if getattr(function, "implicit_hub", False):
        signature = signature.replace(parameters=list(signature.parameters.values())[1:])
    is_async = inspect.iscoroutinefunction(function.func)
    options = getattr(function, marks.METHOD, {})
    return Method(ref, service, name, plugins.unwrapped(hub, function), is_async, signature, **options)


def consumers(hub: Any, contexts: Mapping[str, Any] | None, found: Mapping[str, Any], group: Group) -> list[Consumer]:
    """Bind services to their sources; raises HandlerError that names what is wrong."""
    sources = Sources(hub, contexts)
    wrong: list[str] = []
    made: list[Consumer] = []
    for service, (plugin, methods) in found.items():
        try:
            for source in sources.named(str(getattr(plugin, "PROFILE", "default"))):
                made.append(_consumer(hub, source, service, methods, getattr(plugin, "MAX_WORKERS", WORKERS), group))
        except EvbusError as error:
            wrong.append(f"service {service}: {error}")
    if wrong:
        raise HandlerError(wrong[0] if len(wrong) == 1 else "\n  ".join(["these services cannot be used:", *wrong]))
    return made


def _consumer(
    hub: Any, source: PluginSource, service: str, methods: Mapping[str, Method], workers: int, group: Group
) -> Consumer:
    must_send(source)
    exchange = exchange_of(source)
    post = Post(lambda letters: source.send(consumer.feed, letters), f"{service} on {source.name}")
    dump = plugins.serializer(hub, "json").dump
    server = Server(
        service, methods, decoder(hub), dump, hub.evbus.ENGINE, post, exchange, workers, source.max_event_bytes
    )
    consumer = Consumer(server, source, requests(service, exchange, workers), group.shut_down)
    return consumer


def must_send(source: PluginSource) -> None:
    """Raise HandlerError for a source that knows no calls."""
    if not source.sends:
        raise HandlerError(
            f"{source.name} cannot carry calls: an answer needs a way back to its caller, and {source.plugin.__name__}"
            " has none; use a profile of amqp or internal"
        )


def exchange_of(source: PluginSource) -> str:
    """Give the exchange of calls, as the profile names it."""
    return str(source.ctx.acct.get("rpc_exchange") or EXCHANGE)

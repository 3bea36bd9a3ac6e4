"""Finds and checks the methods of the service dyne, and makes the consumers that serve them."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from evbus_like import handlers as marks
from evbus_like.engine.errors import EvbusError, HandlerError
from evbus_like.engine.receiving.consumer import Consumer
from evbus_like.engine.receiving.group import Group
from evbus_like.engine.receiving.invoker import Decode
from evbus_like.engine.receiving.rules import MOST
from evbus_like.engine.rpc.reply import ReplySender
from evbus_like.engine.rpc.service import Method, ServiceInvoker
from evbus_like.engine.rpc.subscriptions import requests
from evbus_like.engine.suggest import shown, text_problem
from evbus_like.hub import decoding, plugins
from evbus_like.hub.application import rpc_proxy
from evbus_like.hub.application.handlers import among, kind_problem, service_problems
from evbus_like.hub.application.rpc_clients import exchange_of, must_send
from evbus_like.hub.profiles import settings
from evbus_like.hub.profiles.source import PluginSource
from evbus_like.hub.profiles.sources import Sources
from evbus_like.hub.runtime import Hub
from evbus_like.hub.traced import traced

WORKERS = 10  # requests of a service that are handled at the same time


def load(hub: Hub) -> None:
    """Put the `service` dyne on the hub, and record the plugins that could not be loaded."""
    plugins.add(hub, "service")
    if "service" not in hub.evbus.RUNTIME.broken:
        hub.evbus.RUNTIME.broken["service"] = plugins.broken(hub.service)


def found(hub: Hub, only: Collection[str] = (), skip: Collection[str] = ()) -> dict[str, tuple[Any, dict[str, Method]]]:
    """Return the services of the hub by name, with plugin and methods; raises HandlerError."""
    load(hub)
    wrong = [
        f"the service plugin {name!r} could not be loaded: {reason}"
        for name, reason in hub.evbus.RUNTIME.broken.get("service", {}).items()
    ]
    wrong += service_problems(hub, "service")
    made: dict[str, tuple[Any, dict[str, Method]]] = {}
    for plugin_name, plugin in plugins.loaded(hub, "service").items():
        service = str(getattr(plugin, "SERVICE", "") or plugin_name)
        if service in made:
            wrong.append(
                f"service.{plugin_name}: another plugin is the service {service!r} already: {made[service][0]}"
            )
            continue
        methods: dict[str, Method] = {}
        for name, function in _functions(plugin):
            method = _method(hub, f"service.{plugin_name}.{name}", service, name, function)
            named = method.name if isinstance(method.name, str) else name
            if (only and not among(service, named, only)) or among(service, named, skip):
                continue
            if trouble := kind_problem(function.func) or _trouble(method) or decoding.problem(hub, method.accept, ""):
                wrong.append(f"{method.ref}: {trouble}")
            elif method.name in methods:
                wrong.append(f"{method.ref}: {service}.{method.name} is {methods[method.name].ref} already")
            else:
                methods[method.name] = method
        if methods:
            made[service] = (plugin, methods)
    if wrong:
        raise HandlerError(wrong[0] if len(wrong) == 1 else "\n  ".join(["these services cannot be used:", *wrong]))
    return made


def names(hub: Hub) -> list[tuple[str, str]]:
    """Return (service, method) of every public function, including unusable ones."""
    return [
        (str(getattr(plugin, "SERVICE", "") or plugin_name), str(getattr(each, marks.METHOD, {}).get("name") or name))
        for plugin_name, plugin in plugins.loaded(hub, "service").items()
        for name, each in _functions(plugin)
    ]


def _functions(plugin: Any) -> Iterator[tuple[str, Any]]:
    """Yield the public functions that a plugin's file defines; pop also puts imported ones on the hub."""
    own = plugin._vars.get("__name__")
    for name, function in sorted(plugin._funcs.items()):
        plain = getattr(function, "func", function)
        if not name.startswith("_") and inspect.unwrap(plain).__module__ == own:
            yield name, function


def _method(hub: Hub, ref: str, service: str, name: str, function: Any) -> Method:
    options = dict(getattr(function, marks.METHOD, {}))
    given = options.pop("name", "")
    return Method(
        ref,
        service,
        name if given == "" else given,
        plugins.unwrapped(hub, function),
        inspect.iscoroutinefunction(function.func),
        inspect.signature(function.func),
        bool(getattr(function, "implicit_hub", False)),
        log_bodies=bool(settings.config(hub, "log_bodies", False)),
        **options,
    )


def _trouble(method: Method) -> str:
    """Return what is wrong with the options of a method, or an empty string."""
    value = method.timeout
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= MOST):
        return f"timeout must be greater than 0, and at most {MOST}, not {shown(value)}"
    if not isinstance(method.repeat, bool):
        return f"repeat must be True or False, not {shown(method.repeat)}"
    if not all(isinstance(each, type) and issubclass(each, BaseException) for each in method.expected_exceptions):
        return f"expected_exceptions must be classes of exceptions, not {shown(method.expected_exceptions)}"
    if not all(isinstance(each, str) and each for each in method.sensitive):
        return f"sensitive must be names of parts of the request, not {shown(method.sensitive)}"
    if not all(isinstance(each, str) and each for each in method.accept):
        return f"accept must be names of serializers, not {shown(method.accept)}"
    if not isinstance(method.name, str) or "." in method.name or method.name.startswith("_"):
        return f"name must be text without dots, and not begin with _: {shown(method.name)}"
    problem = text_problem(method.name)
    return problem and f"name {problem}"


def consumers(hub: Hub, contexts: Mapping[str, Any] | None, found: Mapping[str, Any], group: Group) -> list[Consumer]:
    """Bind services to their sources; raises one HandlerError that names every problem."""
    sources = Sources(hub, contexts)
    wrong: list[str] = []
    made: list[Consumer] = []
    for service, (plugin, methods) in found.items():
        try:
            to = rpc_proxy.calls(hub).route(service)
            workers, accept = _workers(plugin), _accept(hub, plugin)
            own = "" if rpc_proxy.calls(hub).only else str(getattr(plugin, "PROFILE", "") or "")
            for source in sources.named(own or to.profile or "default"):
                must_send(source)
                exchange = to.exchange or exchange_of(source)
                made.append(consumer_of(hub, source, service, methods, exchange, workers, group, accept))
        except EvbusError as error:
            wrong.append(f"service {service}: {error}")
    if wrong:
        raise HandlerError(wrong[0] if len(wrong) == 1 else "\n  ".join(["these services cannot be used:", *wrong]))
    return made


def consumer_of(
    hub: Hub,
    source: PluginSource,
    service: str,
    methods: Mapping[str, Method],
    exchange: str,
    workers: int,
    group: Group,
    accept: tuple[str, ...] = (),
) -> Consumer:
    """Return the consumer that serves one service from one source."""
    limit, bus, middleware = source.max_event_bytes, hub.evbus.RUNTIME.bus, hub.evbus.RUNTIME.middleware
    replies = ReplySender(service, plugins.serializer(hub, "json").dump, exchange, limit, middleware)
    invoker = traced(ServiceInvoker)(
        service, methods, _decoder(hub, source, accept, methods), bus, replies, workers, limit, middleware
    )
    invoker.deaths = hub.evbus.RUNTIME.deaths
    subscription = requests(service, exchange, workers)
    source.check(subscription)
    consumer = Consumer(invoker, source, subscription, group.shut_down)
    replies.connect(consumer.pool.send, source.name)
    return consumer


def _workers(plugin: Any) -> int:
    workers = getattr(plugin, "MAX_WORKERS", WORKERS)
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise HandlerError(f"MAX_WORKERS must be a whole number above 0, not {shown(workers)}")
    return workers


def _accept(hub: Hub, plugin: Any) -> tuple[str, ...]:
    """Return the formats that a service accepts, its constant ACCEPT; empty if it has none."""
    accept = getattr(plugin, "ACCEPT", ())
    accept = (accept,) if isinstance(accept, str) else accept
    if not isinstance(accept, (list, tuple)) or not all(isinstance(each, str) and each for each in accept):
        raise HandlerError(f"ACCEPT must be names of serializers, not {shown(accept)}")
    if trouble := decoding.problem(hub, accept, ""):
        raise HandlerError(trouble)
    return tuple(accept)


def _decoder(hub: Hub, source: PluginSource, accept: tuple[str, ...], methods: Mapping[str, Method]) -> Decode:
    """Return the decoder of requests: by what the method accepts, else the service, else the profile, else JSON."""
    usual = decoding.of_source(hub, source, accept, otherwise=decoding.JSON)
    own = {
        name: decoding.of_source(hub, source, each.accept, otherwise=decoding.JSON)
        for name, each in methods.items()
        if each.accept
    }
    if not own:
        return usual
    return lambda event: own.get(event.routing_key.rpartition(".")[2], usual)(event)

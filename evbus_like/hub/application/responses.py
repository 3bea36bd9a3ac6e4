"""Handlers of answers: finds the marked functions and makes the consumers of the application's response queue."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from evbus_like import handlers as marks
from evbus_like.engine.errors import EvbusError, HandlerError
from evbus_like.engine.receiving.consumer import Consumer
from evbus_like.engine.receiving.group import Group
from evbus_like.engine.receiving.handler import Handler, HandlerOptions
from evbus_like.engine.receiving.invoker import HandlerInvoker
from evbus_like.engine.rpc.responses import Key, ResponseInvoker, response_decoder
from evbus_like.engine.rpc.subscriptions import responses, responses_queue
from evbus_like.hub import decoding, plugins
from evbus_like.hub.application import handlers
from evbus_like.hub.profiles import settings
from evbus_like.hub.profiles.source import PluginSource
from evbus_like.hub.runtime import Hub
from evbus_like.hub.traced import traced

if TYPE_CHECKING:
    from evbus_like.engine.rpc.client import Client


WayTo = Callable[[str], tuple[PluginSource, str]]


@dataclass(frozen=True)
class Marked:
    """One marked function; `key` says whose answers it handles, `service` where it belongs."""

    key: Key
    service: str
    handler: Handler

    @property
    def of(self) -> str:
        """The service that answers."""
        return self.key[0].rpartition(".")[0]


def marked(hub: Hub) -> Iterator[tuple[str, str, Any, str, HandlerOptions]]:
    """Yield (place on the hub, service, function, kind of answer, options) of every marked function."""
    handlers.load(hub)
    for plugin_name, plugin in plugins.loaded(hub, "handler").items():
        service = str(getattr(plugin, "SERVICE", "") or plugin_name)
        for name, function in plugin._funcs.items():
            for kind, options in getattr(function, marks.ANSWERS, ()):
                yield f"handler.{plugin_name}.{name}", service, function, kind, options


def names(hub: Hub) -> list[tuple[str, str]]:
    """Return (service, name) of every marked function, including unusable ones."""
    return list(dict.fromkeys((service, str(each.__name__)) for _, service, each, *_ in marked(hub)))


def found(hub: Hub, only: Collection[str] = (), skip: Collection[str] = ()) -> list[Marked]:
    """Return the handlers of answers; raises one HandlerError that names every problem."""
    made, wrong = looked_up(hub, only, skip)
    handlers.refuse(wrong)
    return made


def looked_up(hub: Hub, only: Collection[str] = (), skip: Collection[str] = ()) -> tuple[list[Marked], list[str]]:
    """Return the usable handlers of answers, and the problems of the others."""
    wrong: list[str] = []
    made: dict[Key, Marked] = {}
    for ref, service, function, kind, options in marked(hub):
        if (only and not handlers.among(service, function.__name__, only)) or handlers.among(
            service, function.__name__, skip
        ):
            continue
        signature, has_hub = inspect.signature(function.func), bool(getattr(function, "implicit_hub", False))
        key = (f"{options.source}.{options.event_types[0]}", kind)
        trouble = (
            options.problem()
            or decoding.problem(hub, options.accept, "")
            or handlers.kind_problem(function.func)
            or handlers.signature_problem(signature, has_hub)
        )
        if not trouble and key in made:
            trouble = f"the {kind} of {key[0]} has a handler already: {made[key].handler.ref}"
        if trouble:
            wrong.append(f"{ref}: {trouble}")
            continue
        options = replace(options, log_bodies=bool(settings.config(hub, "log_bodies", False)))
        is_async = inspect.iscoroutinefunction(function.func)
        call = plugins.unwrapped(hub, function)
        made[key] = Marked(key, service, Handler(ref, service, function.__name__, call, is_async, options))
    return list(made.values()), wrong


def owner(hub: Hub) -> str:
    """Return the name in the application's response queue: the setting service_name, else the handlers' service.

    Raises HandlerError if the handlers belong to several services.
    """
    named = str(settings.config(hub, "service_name", "") or "")
    services = sorted({service for _, service, *_ in marked(hub)})
    clients = hub.evbus.RUNTIME.rpc_clients
    if not named and clients is not None and clients.only:  # in a test in memory no other application has the queue
        return "trial"
    if not named and len(services) != 1:
        raise HandlerError(
            "answers need a queue, which is called after the application: set service_name (EVBUS_SERVICE_NAME);"
            f" there are handlers of answers in {', '.join(services) or 'no plugin'}"
        )
    return named or services[0]


def consumers(hub: Hub, chosen: list[Marked], group: Group, way_to: WayTo) -> list[Consumer]:
    """Bind handlers of answers to their sources; raises one HandlerError that names everything that is wrong.

    `way_to` gives the source and the exchange of a called service.
    """
    if not chosen:
        return []
    service = owner(hub)
    ways: dict[tuple[str, str], Any] = {}
    invokers: dict[tuple[str, str], dict[Key, HandlerInvoker]] = {}
    wrong: list[str] = []
    for each in chosen:
        try:
            source, exchange = way_to(each.of)
            handlers.check_later(source, each.handler.options)
        except EvbusError as error:
            wrong.append(f"{each.handler.ref}: {error}")
            continue
        way = (source.name, exchange)
        ways[way] = source
        invokers.setdefault(way, {})[each.key] = invoker = traced(HandlerInvoker)(
            each.handler,
            response_decoder(decoding.of_source(hub, source, each.handler.options.accept, otherwise=decoding.JSON)),
            hub.evbus.RUNTIME.bus,
            source.max_event_bytes,
            hub.evbus.RUNTIME.middleware,
        )
        invoker.deaths = hub.evbus.RUNTIME.deaths
    if wrong:
        raise HandlerError("\n  ".join(wrong))
    made = []
    for way, source in ways.items():
        decode = decoding.of_source(hub, source, otherwise=decoding.JSON)
        all_invokers = ResponseInvoker(service, invokers[way], decode)
        subscription = responses(service, way[1], prefetch=all_invokers.options.max_workers)
        source.check(subscription)
        made.append(Consumer(all_invokers, source, subscription, group.shut_down))
    return made


async def expect(hub: Hub, client: Client, service: str, method: str) -> str:
    """Make sure that an answer has a handler and a queue; returns its routing key.

    The queue must exist before the answer, even if the handlers start later or elsewhere. Raises HandlerError, or what
    `subscribe` raises.
    """
    name = f"{service}.{method}"
    if not any(name == f"{options.source}.{options.event_types[0]}" for *_, options in marked(hub)):
        raise HandlerError(
            f"nobody would hear the answer of {name}: mark a function of a handler plugin with"
            f" @evbus.on_response({service!r}, {method!r}), or call with hub.rpc.{name}.cast(...)"
        )
    queue = responses_queue(owner(hub))
    if queue not in client.response_queues:
        async with asyncio.timeout(client.source.timeout):
            feed = await client.source.subscribe(responses(owner(hub), client.exchange, prefetch=1))
            await client.source.unsubscribe(feed)
        client.response_queues.add(queue)
    return queue

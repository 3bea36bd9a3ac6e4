"""Handlers bound to their sources: a consumer for each handler and source."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from typing import Any

from evbus_like.engine.errors import EvbusError, HandlerError
from evbus_like.engine.receiving.consumer import Consumer
from evbus_like.engine.receiving.group import Group
from evbus_like.engine.receiving.handler import Handler
from evbus_like.engine.receiving.invoker import HandlerInvoker
from evbus_like.engine.receiving.subscription import Subscription
from evbus_like.hub import decoding
from evbus_like.hub.application import durable_dedup
from evbus_like.hub.application.handlers import identifier, refuse
from evbus_like.hub.profiles.source import PluginSource
from evbus_like.hub.profiles.sources import Sources
from evbus_like.hub.runtime import Hub


async def consumers(
    hub: Hub, contexts: Mapping[str, Any] | None, handlers: list[Handler], group: Group, wrong: Collection[str] = ()
) -> list[Consumer]:
    """Bind handlers to their sources; raises one HandlerError that names everything that is wrong.

    `wrong` lists known mistakes. Raises StorageError if ids of handled events must be kept and the outbox cannot be
    opened.
    """
    found, unbound = bound(hub, contexts, handlers)
    refuse([*wrong, *unbound])
    box = await durable_dedup.box(hub, handlers)
    made: list[Consumer] = []
    for caller, source, asked in found:
        window = await durable_dedup.window(box, asked.queue, caller.options)
        made.append(Consumer(caller, source, asked, group.shut_down, window))
    return made


def bound(
    hub: Hub, contexts: Mapping[str, Any] | None, handlers: list[Handler]
) -> tuple[list[tuple[HandlerInvoker, PluginSource, Subscription]], list[str]]:
    """Return each handler with its sources and subscriptions, and what is wrong with the others."""
    sources = Sources(hub, contexts)
    own = uuid.uuid4().hex  # the default identifier of this instance
    wrong: list[str] = []
    made: list[tuple[HandlerInvoker, PluginSource, Subscription]] = []
    for handler in handlers:
        try:
            for source in sources.named(handler.options.profile):
                asked = subscription(hub, handler, own)
                _check(source, asked)
                options, most = handler.options, source.max_event_bytes
                decode = decoding.of_source(
                    hub, source, options.accept, options.default_format, declared=handler.declared
                )
                caller = HandlerInvoker(handler, decode, hub.evbus.RUNTIME.bus, most, hub.evbus.RUNTIME.middleware)
                caller.deaths = hub.evbus.RUNTIME.deaths
                made.append((caller, source, asked))
        except EvbusError as error:
            wrong.append(f"{handler.ref}: {error}")
    return made, wrong


def subscription(hub: Hub, handler: Handler, own: str) -> Subscription:
    """Return the subscription of a handler; `own` identifies this instance unless the handler or a setting does."""
    options = handler.options
    return Subscription(
        source=options.source,
        event_types=options.event_types,
        service=handler.service,
        name=handler.name,
        delivery=options.delivery,
        reliable=options.reliable,
        prefetch=options.prefetch or options.max_workers,
        since=options.since,
        identifier=identifier(hub, options) or own,
    )


def _check(source: PluginSource, subscription: Subscription) -> None:
    if subscription.since is not None and not source.rewinds:
        raise HandlerError(f"since= is for sources that can rewind, such as Kafka, and {source.name} cannot")
    check = source.plugin._funcs.get("check")
    if check is not None:
        check(source.ctx, subscription)

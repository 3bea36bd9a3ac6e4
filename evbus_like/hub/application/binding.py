"""Handlers bound to their sources: a consumer for each handler and source."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from typing import Any

from evbus_like.engine.errors import EvbusError, HandlerError
from evbus_like.engine.rate import Bucket
from evbus_like.engine.receiving.batch_invoker import BatchInvoker
from evbus_like.engine.receiving.batch_pool import BatchPool
from evbus_like.engine.receiving.consumer import Consumer
from evbus_like.engine.receiving.group import Group
from evbus_like.engine.receiving.handler import Handler
from evbus_like.engine.receiving.inbox import InboxInvoker
from evbus_like.engine.receiving.invoker import HandlerInvoker
from evbus_like.engine.receiving.pool import WorkerPool
from evbus_like.engine.receiving.subscription import Subscription
from evbus_like.engine.shared_rate import bucket
from evbus_like.hub import decoding, rates
from evbus_like.hub.application import durable_dedup, inboxes, rpc_proxy
from evbus_like.hub.application.handlers import check_later, identifier, refuse
from evbus_like.hub.profiles.source import PluginSource
from evbus_like.hub.profiles.sources import Sources
from evbus_like.hub.runtime import Hub
from evbus_like.hub.traced import traced

DEFAULT = "default"  # the profile of a handler that names none


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
    for invoker, source, subscription in found:
        window = await durable_dedup.window(box, subscription.queue, invoker.options)
        pool = BatchPool if isinstance(invoker, BatchInvoker) else WorkerPool
        made.append(
            Consumer(invoker, source, subscription, group.shut_down, window, _bucket(hub, invoker.handler), pool)
        )
    refuse(await inboxes.open_for(group, made))
    return made


def bound(
    hub: Hub, contexts: Mapping[str, Any] | None, handlers: list[Handler]
) -> tuple[list[tuple[HandlerInvoker, PluginSource, Subscription]], list[str]]:
    """Return each handler with its sources and subscriptions, and what is wrong with the others."""
    sources, of_inbox = Sources(hub, contexts), inboxes.Inboxes(hub, contexts)
    own = uuid.uuid4().hex  # the default identifier of this instance
    wrong: list[str] = []
    made: list[tuple[HandlerInvoker, PluginSource, Subscription]] = []
    for handler in handlers:
        try:
            for source in sources.named(_profile(hub, handler, contexts)):
                subscription = subscription_of(hub, handler, own)
                options, most = handler.options, source.max_event_bytes
                _check(source, subscription)
                check_later(source, options)
                decode = decoding.of_source(
                    hub, source, options.accept, options.default_format, declared=handler.declared
                )
                kind = InboxInvoker if options.inbox else BatchInvoker if options.batch else HandlerInvoker
                invoker = traced(kind)(handler, decode, hub.evbus.RUNTIME.bus, most, hub.evbus.RUNTIME.middleware)
                if isinstance(invoker, InboxInvoker):
                    of_inbox.give(invoker, handler, subscription)
                invoker.deaths = hub.evbus.RUNTIME.deaths
                made.append((invoker, source, subscription))
        except EvbusError as error:
            wrong.append(f"{handler.ref}: {error}")
    return made, wrong


def _profile(hub: Hub, handler: Handler, contexts: Mapping[str, Any] | None) -> str:
    """Return the source profile of a handler: its own, else that of the service's notifications, else the default."""
    own = handler.options.profile
    return own if own != DEFAULT else rpc_proxy.subscribed(hub, handler.options.source, contexts) or own


def subscription_of(hub: Hub, handler: Handler, own: str) -> Subscription:
    """Return the subscription of a handler; `own` identifies this instance unless the handler or a setting does."""
    options = handler.options
    return Subscription(
        source=options.source,
        event_types=options.event_types,
        service=handler.service,
        name=handler.name,
        delivery=options.delivery,
        reliable=options.reliable,
        prefetch=options.most_open * (options.shards or 1),
        since=options.since,
        identifier=identifier(hub, options) or own,
        shards=options.shards or 0,
        max_priority=options.max_priority or 0,
    )


def _bucket(hub: Hub, handler: Handler) -> Bucket | None:
    """Return what holds a handler to its rate, in all processes that share it; None if it has no rate."""
    options = handler.options
    if options.rate is None:
        return None
    name = f"handler {handler.service}.{handler.name} {options.source} {options.profile} {options.event_types}"
    return bucket(options.rate_parsed, rates.limit(hub, name))


def _check(source: PluginSource, subscription: Subscription) -> None:
    if subscription.since is not None and not source.rewinds:
        raise HandlerError(f"since= is for sources that can rewind, such as Kafka, and {source.name} cannot")
    if subscription.shards and not source.shards:
        raise HandlerError(
            f"shards= is for RabbitMQ, and {source.name} has none. On Kafka the partitions of the topic do the same:"
            " leave shards= out, give the topic as many partitions, and the events keys"
        )
    if subscription.max_priority and not source.priorities:
        raise HandlerError(f"max_priority= is for RabbitMQ, and {source.name} has no priorities: leave it out")
    source.check(subscription)

"""Memory as a source: events that this process puts to a profile of ingress.internal, shared as RabbitMQ does.

The events of a service go to a topic exchange in memory, and each handler's queue is a bounded one in this process.
Events in it are lost when the process ends.
"""

from collections.abc import Sequence
from typing import Any

from evbus_like import errors, plugin
from evbus_like.hub import conflict

ACCT = ["internal"]
SHARDS = True  # this process is the only worker: events of one key come one after another


def __virtual__(hub: Any) -> bool | tuple[bool, str]:
    return conflict.none()  # before pop-evbus's contract is applied to this file


def check(hub: Any, ctx: plugin.Context, subscription: plugin.Subscription) -> None:
    """Refuse a profile whose events all go to one queue; raises HandlerError."""
    key = ctx.acct.get("routing_key")
    if key and not subscription.of_calls:
        raise errors.HandlerError(
            f"all events of profile internal:{ctx.profile} go to its queue {key!r}, whatever their service: use"
            f" another profile, or read the queue with `await hub.ingress.internal.get({key!r})`"
        )


async def subscribe(hub: Any, ctx: plugin.Context, subscription: plugin.Subscription) -> Any:
    """Bind the subscription's queue to the service's exchange."""
    from evbus_like.memory import feed as memory_feed  # not before: a program that only puts starts sooner

    return memory_feed.MemoryFeed(hub.ingress.internal, subscription)


async def receive(hub: Any, ctx: plugin.Context, feed: Any) -> Sequence[plugin.ReceivedEvent]:
    """Wait for events, at most as many as the subscription's prefetch allows."""
    received: Sequence[plugin.ReceivedEvent] = await feed.receive()
    return received


async def ack(hub: Any, ctx: plugin.Context, feed: Any, events: Sequence[plugin.ReceivedEvent]) -> None:
    """Remove events."""
    feed.ack(events)


async def requeue(hub: Any, ctx: plugin.Context, feed: Any, event: plugin.ReceivedEvent) -> None:
    """Return an event to the front of its queue."""
    feed.requeue(event)


async def retry(hub: Any, ctx: plugin.Context, feed: Any, event: plugin.ReceivedEvent, delay: float) -> None:
    """Put an event at the end of its queue after `delay` seconds; raises QueueFull."""
    feed.retry(event, delay)


async def dead(hub: Any, ctx: plugin.Context, feed: Any, event: plugin.ReceivedEvent, reason: str) -> None:
    """Put an event to the dead letters' queue, which `hub.ingress.internal.get(name)` reads; raises QueueFull."""
    feed.dead(event, reason)


async def send(hub: Any, ctx: plugin.Context, feed: Any, messages: Sequence[plugin.Message]) -> None:
    """Put messages to the queues that are bound to their exchange."""
    from evbus_like.memory import feed as memory_feed

    memory_feed.send(hub.ingress.internal, messages)


async def unsubscribe(hub: Any, ctx: plugin.Context, feed: Any) -> None:
    """Return unsettled events to the queue, in their order."""
    feed.end()

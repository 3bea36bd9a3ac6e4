"""In memory: events that the same process puts to a profile of ingress.internal, with RabbitMQ's ways of sharing them.

A service's events go to a topic exchange in memory, and each queue that handlers ask for is a bounded one of this
process: what is in it when the process ends is gone.
"""

from evbus_like import errors
from evbus_like.hub import conflict

ACCT = ["internal"]


def __virtual__(hub):
    return conflict.none()  # before pop-evbus's contract is applied to this file


def check(hub, ctx, subscription):
    """Refuse a profile all of whose events go to one queue; raises HandlerError."""
    if key := ctx.acct.get("routing_key"):
        raise errors.HandlerError(
            f"all events of profile internal:{ctx.profile} go to its queue {key!r}, whatever their service: take"
            f" another profile, or read the queue with `await hub.ingress.internal.get({key!r})`"
        )


async def subscribe(hub, ctx, subscription):
    """Bind the subscription's queue to its service's exchange."""
    from evbus_like.memory import feed as memory_feed  # not before: a program that only puts starts sooner

    return memory_feed.MemoryFeed(hub.ingress.internal, subscription)


async def receive(hub, ctx, feed):
    """Take what waits, as much as the subscription lets."""
    return await feed.receive()


async def ack(hub, ctx, feed, events):
    """Forget events."""
    feed.ack(events)


async def requeue(hub, ctx, feed, event):
    """Put an event first in its queue again."""
    feed.requeue(event)


async def dead(hub, ctx, feed, event, reason):
    """Put an event to the queue of dead letters, which `hub.ingress.internal.get(name)` reads; a full one says so."""
    feed.dead(event, reason)


async def send(hub, ctx, feed, letters):
    """Put letters to the queues of their exchange that want them."""
    from evbus_like.memory import feed as memory_feed

    memory_feed.send(hub.ingress.internal, letters)


async def unsubscribe(hub, ctx, feed):
    """Give back what is not settled, in its order."""
    feed.end()

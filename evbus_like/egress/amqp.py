"""RabbitMQ as a source, with nameko's exchanges and queues: nameko services can publish to it and share its queues.

.. code-block:: yaml

    amqp:                     # or pika, or rabbitmq
      default:
        connection:
          url: amqp://user:password@rabbit.example.com/
        exchange: orders      # without it, the topic exchange {source}.events
"""

from collections.abc import Sequence
from typing import Any

from evbus_like import errors, plugin
from evbus_like.engine.event import MAX_CARRIED
from evbus_like.hub import conflict
from evbus_like.hub.profiles import settings

ACCT = ["amqp", "pika", "rabbitmq"]
REQUIRES = ["aio_pika"]
SHARDS = True
PRIORITIES = True
OPTIONS = {
    "quorum": (
        bool,
        "true: declare the queues of reliable handlers, and those of dead letters, as quorum queues (default: the"
        " setting quorum)",
    ),
    "dead_letter_exchange": (
        str,
        "the exchange for the dead letters of handlers, with the queue's name as routing key (default: the queue"
        " {queue}.dead)",
    ),
    "rpc_exchange": (str, "the exchange of calls, as nameko's setting of that name (default: nameko-rpc)"),
}
SENDS = {"max_header_bytes": 131072 - 1024 - MAX_CARRIED, "reserved_headers": ("CC", "BCC")}  # as the ingress plugin


def __virtual__(hub: Any) -> bool | tuple[bool, str]:
    return conflict.none()  # before pop-evbus's contract is applied to this file


def validate(hub: Any, ctx: plugin.Context) -> None:
    """Check the profile without connecting; raises ProfileError."""
    from evbus_like.amqp.settings import check_declare, targets

    targets(ctx.acct)
    check_declare(ctx.acct)
    if len(ctx.acct.get("dead_letter_exchange", "").encode()) > 255:
        raise errors.ProfileError("dead_letter_exchange is longer than 255 bytes, RabbitMQ's limit")


def check(hub: Any, ctx: plugin.Context, subscription: plugin.Subscription) -> None:
    """Check that RabbitMQ can have the subscription's queue; raises HandlerError."""
    from evbus_like.amqp import topology

    topology.check(_acct(hub, ctx), subscription, f"amqp:{ctx.profile}")


def _acct(hub: Any, ctx: plugin.Context) -> dict[str, Any]:
    return {"quorum": settings.config(hub, "quorum", False), **ctx.acct}


def _receiver(hub: Any, ctx: plugin.Context) -> Any:
    from evbus_like.amqp import receiver

    if "receiver" not in ctx:
        ctx.receiver = receiver.Receiver(_acct(hub, ctx))
    return ctx.receiver


async def inspect(hub: Any, ctx: plugin.Context, subscription: plugin.Subscription) -> plugin.Inspection:
    """Look at what RabbitMQ has of the subscription's exchange, queue and dead letters."""
    found: plugin.Inspection = await _receiver(hub, ctx).inspect(subscription)
    return found


async def dead_letters(hub: Any, ctx: plugin.Context, subscription: plugin.Subscription) -> Any:
    """Begin to look at the queue of the subscription's dead letters."""
    return await _receiver(hub, ctx).dead_letters(subscription)


async def subscribe(hub: Any, ctx: plugin.Context, subscription: plugin.Subscription) -> Any:
    """Declare and bind the subscription's queue, and start to read it."""
    return await _receiver(hub, ctx).subscribe(subscription)


async def receive(hub: Any, ctx: plugin.Context, feed: Any) -> Sequence[plugin.ReceivedEvent]:
    """Wait for events."""
    received: Sequence[plugin.ReceivedEvent] = await feed.receive()
    return received


async def ack(hub: Any, ctx: plugin.Context, feed: Any, events: Sequence[plugin.ReceivedEvent]) -> None:
    """Acknowledge events."""
    feed.ack(events)


async def requeue(hub: Any, ctx: plugin.Context, feed: Any, event: plugin.ReceivedEvent) -> None:
    """Return an event to its queue, as a copy if RabbitMQ might drop it."""
    await ctx.receiver.requeue(feed, event)


async def retry(hub: Any, ctx: plugin.Context, feed: Any, event: plugin.ReceivedEvent, delay: float) -> None:
    """Publish a copy to the queue of its delay, then acknowledge the event."""
    await ctx.receiver.retry(feed, event, delay)


async def dead(hub: Any, ctx: plugin.Context, feed: Any, event: plugin.ReceivedEvent, reason: str) -> None:
    """Publish a copy to the dead letters, then acknowledge the event."""
    await ctx.receiver.dead(feed, event, reason)


async def send(hub: Any, ctx: plugin.Context, feed: Any, messages: Sequence[plugin.Message]) -> None:
    """Publish requests or answers of calls, and settle each."""
    await ctx.receiver.send(messages)


async def unsubscribe(hub: Any, ctx: plugin.Context, feed: Any) -> None:
    """End the feed."""
    await feed.end()


async def close(hub: Any, ctx: plugin.Context) -> None:
    """Close the connections."""
    if "receiver" in ctx:
        await ctx.receiver.close()

"""Kafka as a source, through aiokafka: each handler has a consumer of its own, and commits a record once it is handled.

.. code-block:: yaml

    kafka:
      default:
        connection:
          bootstrap_servers: kafka1.example.com:9092
        topics: [orders.events]      # without it, the topic {service}.events of the handler's service
"""

from collections.abc import Sequence
from typing import Any

from evbus_like import errors, plugin, workers
from evbus_like.hub import conflict

ACCT = ["kafka"]
REQUIRES = ["aiokafka"]
REWINDS = True
OPTIONS = {
    "session_timeout": (
        (int, float),
        "handlers: seconds of silence after which a worker's partitions go to others (default: 10)",
    ),
    "group_instance_id": (
        (str, type(None)),
        "handlers: a name that this process keeps over restarts, so that its partitions wait for it; {host} in it"
        " stands for the machine's name",
    ),
    "client_rack": (
        (str, type(None)),
        "handlers: the rack, or availability zone, of this machine: records are read from a replica there",
    ),
}


def __virtual__(hub: Any) -> bool | tuple[bool, str]:
    return conflict.none()  # before pop-evbus's contract is applied to this file


def validate(hub: Any, ctx: plugin.Context) -> None:
    """Check the profile without connecting; raises ProfileError."""
    from evbus_like.kafka import settings

    made = settings.settings(ctx.acct, workers.number())
    if made.session < 1:
        raise errors.ProfileError(f"session_timeout must be at least 1 second, not {made.session:g}")


def check(hub: Any, ctx: plugin.Context, subscription: plugin.Subscription) -> None:
    """Check the names of topics and `since`; raises HandlerError."""
    from evbus_like.kafka import settings, since, topics

    for topic in settings.settings(ctx.acct).topics or (subscription.exchange,):
        if topics.wrong_name(topic):
            raise errors.HandlerError(
                f"{topic!r} cannot be the name of a Kafka topic (letters, digits, '.', '_', '-', 249 at most): name the"
                f" topics of the service {subscription.source!r} in the profile kafka:{ctx.profile}"
            )
    if problem := since.problem(subscription.since):
        raise errors.HandlerError(problem)


async def inspect(hub: Any, ctx: plugin.Context, subscription: plugin.Subscription) -> plugin.Inspection:
    """Look at the topics, and read their latest records without a group: no offset is committed."""
    from evbus_like.kafka import inspection, settings

    largest = ctx.acct.get("max_event_bytes")
    found: plugin.Inspection = await inspection.inspect(settings.settings(ctx.acct), subscription, largest)
    return found


async def dead_letters(hub: Any, ctx: plugin.Context, subscription: plugin.Subscription) -> Any:
    """Begin to look at the topic of the subscription's dead letters."""
    from evbus_like.kafka import look, settings

    return await look.begin(settings.settings(ctx.acct), subscription)


async def subscribe(hub: Any, ctx: plugin.Context, subscription: plugin.Subscription) -> Any:
    """Join the subscription's consumer group, or read alone; return when no later record can be missed."""
    from evbus_like.kafka import settings
    from evbus_like.kafka.feed import Feed

    if "settings" not in ctx:
        ctx.settings = settings.settings(ctx.acct, workers.number())
    feed = Feed(ctx.settings, subscription)
    await feed.open()
    return feed


async def receive(hub: Any, ctx: plugin.Context, feed: Any) -> Sequence[plugin.ReceivedEvent]:
    """Wait for records that the subscription wants."""
    received: Sequence[plugin.ReceivedEvent] = await feed.receive()
    return received


async def ack(hub: Any, ctx: plugin.Context, feed: Any, events: Sequence[plugin.ReceivedEvent]) -> None:
    """Mark events as handled; their offsets are committed soon."""
    feed.ack(events)


async def requeue(hub: Any, ctx: plugin.Context, feed: Any, event: plugin.ReceivedEvent) -> None:
    """Return an event to the feed's own queue."""
    feed.requeue(event)


async def dead(hub: Any, ctx: plugin.Context, feed: Any, event: plugin.ReceivedEvent, reason: str) -> None:
    """Produce an event's record to the topic of the handler's dead letters."""
    await feed.dead(event, reason)


async def unsubscribe(hub: Any, ctx: plugin.Context, feed: Any) -> None:
    """Commit what is settled, and leave the group."""
    await feed.close()

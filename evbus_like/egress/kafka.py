"""Kafka, through aiokafka: each handler has a consumer of its own, and commits a record when it is dealt with.

.. code-block:: yaml

    kafka:
      default:
        connection:
          bootstrap_servers: kafka1.example.com:9092
        topics: [orders.events]      # without it, the topic {service}.events of the handler's service
"""

from evbus_like import errors
from evbus_like.hub import conflict

ACCT = ["kafka"]
REQUIRES = ["aiokafka"]
REWINDS = True
OPTIONS = {
    "session_timeout": (
        (int, float),
        "handlers: seconds of silence after which a worker's partitions go to others; 10 by default",
    ),
}


def __virtual__(hub):
    return conflict.none()  # before pop-evbus's contract is applied to this file


def validate(hub, ctx):
    """Check the profile without connecting; raises ProfileError."""
    from evbus_like.kafka import settings

    made = settings.settings(ctx.acct)
    if made.session < 1:
        raise errors.ProfileError(f"session_timeout must be at least 1 second, not {made.session:g}")


def check(hub, ctx, subscription):
    """Refuse names that are no topics, and a `since` that says nothing; raises HandlerError."""
    from evbus_like.kafka import producer, settings, since

    for topic in settings.settings(ctx.acct).topics or (subscription.exchange,):
        if not producer.TOPIC_NAME.fullmatch(topic):
            raise errors.HandlerError(
                f"{topic!r} is no name for a Kafka topic (letters, digits, '.', '_', '-', 249 at most): name the topics"
                f" of the service {subscription.source!r} in the profile kafka:{ctx.profile}"
            )
    if problem := since.problem(subscription.since):
        raise errors.HandlerError(problem)


async def subscribe(hub, ctx, subscription):
    """Join the consumer group of the subscription's queue, or read alone; returns when nothing is passed over."""
    from evbus_like.kafka import settings
    from evbus_like.kafka.feed import Feed

    if "settings" not in ctx:
        ctx.settings = settings.settings(ctx.acct)
    feed = Feed(ctx.settings, subscription)
    await feed.open()
    return feed


async def receive(hub, ctx, feed):
    """Wait for records that the subscription wants."""
    return await feed.receive()


async def ack(hub, ctx, feed, events):
    """Note events that are dealt with; their offsets are committed soon."""
    feed.ack(events)


async def requeue(hub, ctx, feed, event):
    """Give an event again, from here."""
    feed.requeue(event)


async def dead(hub, ctx, feed, event, reason):
    """Produce an event's record to the topic of the handler's dead letters."""
    await feed.dead(event, reason)


async def unsubscribe(hub, ctx, feed):
    """Commit what is settled, and leave the group."""
    await feed.close()

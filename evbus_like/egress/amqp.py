"""RabbitMQ as a source of events, with nameko's exchanges and queues: its services may stand on either side.

.. code-block:: yaml

    amqp:                     # or pika, or rabbitmq
      default:
        connection:
          url: amqp://user:password@rabbit.example.com/
        exchange: orders      # without it, the topic exchange {source}.events
"""

from evbus_like import errors
from evbus_like.hub import conflict

ACCT = ["amqp", "pika", "rabbitmq"]
REQUIRES = ["aiormq"]
OPTIONS = {
    "quorum": (
        bool,
        "true: reliable queues and those of dead letters are made as quorum queues, replicated; nameko makes none",
    ),
    "dead_letter_exchange": (
        str,
        "the exchange for dead letters, with the handler's queue as routing key; without it, the queue {queue}.dead",
    ),
    "rpc_exchange": (str, "the exchange of calls, as nameko's setting of that name (default: nameko-rpc)"),
}


def __virtual__(hub):
    return conflict.none()  # before pop-evbus's contract is applied to this file


def validate(hub, ctx):
    """Check the profile without connecting; raises ProfileError."""
    from evbus_like.amqp import connect, declare

    connect.target(ctx.acct)
    declare.check(ctx.acct)
    if len(ctx.acct.get("dead_letter_exchange", "").encode()) > 255:
        raise errors.ProfileError("dead_letter_exchange is longer than the 255 bytes that RabbitMQ takes")


def check(hub, ctx, subscription):
    """Check that RabbitMQ can have such a queue; raises HandlerError."""
    from evbus_like.amqp import queues

    queues.check(ctx.acct, subscription, f"amqp:{ctx.profile}")


async def subscribe(hub, ctx, subscription):
    """Declare and bind the subscription's queue, and begin to read it."""
    from evbus_like.amqp import receiver

    if "receiver" not in ctx:
        ctx.receiver = receiver.Receiver(ctx.acct)
    return await ctx.receiver.subscribe(subscription)


async def receive(hub, ctx, feed):
    """Wait for events."""
    return await feed.receive()


async def ack(hub, ctx, feed, events):
    """Acknowledge events."""
    await feed.ack(events)


async def requeue(hub, ctx, feed, event):
    """Give an event back to its queue."""
    await feed.requeue(event)


async def retry(hub, ctx, feed, event, delay):
    """Have a copy wait in a queue of its delay, and acknowledge the event."""
    await ctx.receiver.retry(feed, event, delay)


async def dead(hub, ctx, feed, event, reason):
    """Put a copy to the dead letters, and acknowledge the event."""
    await ctx.receiver.dead(feed, event, reason)


async def send(hub, ctx, feed, letters):
    """Write requests or answers of calls; what becomes of each is told to it."""
    await ctx.receiver.send(letters)


async def unsubscribe(hub, ctx, feed):
    """End the feed."""
    await feed.end()


async def close(hub, ctx):
    """Close the connections."""
    if "receiver" in ctx:
        await ctx.receiver.close()

"""In memory: events that the same process puts to a profile of ingress.internal, with RabbitMQ's ways of sharing them.

A service's events go to a topic exchange in memory, and each queue that handlers ask for is a bounded one of this
process: what is in it when the process ends is gone.
"""

import time

from evbus_like.bridge import conflict
from evbus_like.engine import errors
from evbus_like.engine import event as engine_event
from evbus_like.engine.consuming import memory, received
from evbus_like.engine.rpc import letter

ACCT = ["internal"]


def __virtual__(hub):
    return conflict.none()  # before pop-evbus's contract is applied to this file


class Feed:
    """What one handler reads: its queue, and what it took from there and has not settled."""

    def __init__(self, subscription, exchange, binding):
        self.subscription = subscription
        self.exchange = exchange
        self.binding = binding
        self.taken = {}


def check(hub, ctx, subscription):
    """Refuse a profile all of whose events go to one queue; raises HandlerError."""
    if key := ctx.acct.get("routing_key"):
        raise errors.HandlerError(
            f"all events of profile internal:{ctx.profile} go to its queue {key!r}, whatever their service: take"
            f" another profile, or read the queue with `await hub.ingress.internal.get({key!r})`"
        )


async def subscribe(hub, ctx, subscription):
    """Bind the subscription's queue to its service's exchange."""
    exchange = hub.ingress.internal.EXCHANGES.setdefault(subscription.exchange, memory.Exchange())
    binding = exchange.bind(subscription, lambda name: hub.ingress.internal.mailbox(name))
    if subscription.exclusive and binding.readers > 1:
        exchange.leave(subscription)  # the other reader stays
        raise errors.DestinationRefused(f"the queue {subscription.queue!r} is another instance's alone")
    return Feed(subscription, exchange, binding)


async def receive(hub, ctx, feed):
    """Take what waits, as much as the subscription lets."""
    mailbox = feed.binding.mailbox
    while not (events := mailbox.take(feed.subscription.prefetch)):
        await mailbox.wait_filled()
    mailbox.task_done(len(events))
    return [_received(feed, event) for event in events]


def _received(feed, event):
    tries = feed.binding.tries.get(event.id)
    made = received.ReceivedEvent(
        event.body,
        event.routing_key,
        feed.subscription.source,
        event.id,
        event.headers,
        event.content_type,
        event.timestamp,
        redelivered=tries is not None,
        attempt=(tries or 0) + 1,
        token=event,
    )
    if isinstance(event.receipt, letter.Letter):  # see `send`
        made.reply_to, made.correlation_id = event.receipt.reply_to, event.receipt.correlation_id
    feed.taken[made] = event
    return made


async def ack(hub, ctx, feed, events):
    """Forget events."""
    for event in events:
        _forget(feed, event)


def _forget(feed, event):
    feed.binding.tries.pop(event.id, None)
    return feed.taken.pop(event, None)


async def requeue(hub, ctx, feed, event):
    """Put an event first in its queue again."""
    if (given := feed.taken.pop(event, None)) is not None:
        feed.binding.tries[event.id] = event.attempt
        memory.give_back(feed.binding.mailbox, [given])


async def dead(hub, ctx, feed, event, reason):
    """Put an event to the queue of dead letters, which `hub.ingress.internal.get(name)` reads; a full one says so."""
    letter = event.token.twin()
    letter.headers = {**(letter.headers or {}), **received.epitaph(event, feed.subscription.queue, reason)}
    hub.ingress.internal.mailbox(feed.subscription.dead).put_nowait(letter)
    _forget(feed, event)


async def send(hub, ctx, feed, letters):
    """Put letters to the queues of their exchange that want them."""
    for each in letters:
        each.settle(_sent(hub, each))


def _sent(hub, sent):
    exchange = hub.ingress.internal.EXCHANGES.get(sent.exchange)
    made = engine_event.Event(sent.routing_key, sent.body, "", sent.headers)
    made.id, made.content_type, made.timestamp = sent.id, sent.content_type, time.time()
    made.receipt = sent  # what the event is for: a request, or its answer
    if exchange is None or not any(each.wants(made.routing_key) for each in exchange.bindings.values()):
        return letter.Unroutable(sent.routing_key) if sent.must_arrive else None
    full = exchange.put(made)
    return errors.TransientError(f"{full.name} is full ({full.maxsize} events)") if full is not None else None


async def unsubscribe(hub, ctx, feed):
    """Give back what is not settled, in its order."""
    for event in feed.taken:
        feed.binding.tries[event.id] = event.attempt - 1  # this handling is not done, or has not begun
    memory.give_back(feed.binding.mailbox, list(feed.taken.values()))
    feed.taken.clear()
    if feed.exchange.leave(feed.subscription):  # the queue has gone, and with it what is in it
        hub.ingress.internal.QUEUE.pop(feed.subscription.queue, None)

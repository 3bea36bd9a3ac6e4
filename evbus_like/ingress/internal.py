"""In memory: a bounded queue per routing key, read in the same process with `hub.ingress.internal.get`.

Events of a service go to the queues of the handlers that want them instead, and to none where nobody does.

.. code-block:: yaml

    internal:
      default:                # no options: the event's routing key names the queue
      audit:
        routing_key: audit    # one queue, whatever the event's routing key
        queue_events: 100000  # how many events a queue holds before its lane waits
"""

import asyncio

from evbus_like import errors
from evbus_like.engine.event import SERVICE_HEADER
from evbus_like.hub import conflict
from evbus_like.memory import mailbox as engine_mailbox

ACCT = ["internal"]
OPTIONS = {
    "routing_key": ((str, type(None)), "the queue's name, for all events of the profile"),
    "queue_events": (int, "how many events one queue holds"),
}
FULL_WAIT = 10.0  # seconds that a full queue is waited for before the lane hears of it


def __virtual__(hub):
    return conflict.none()  # before pop-evbus's contract is applied to this file


def __init__(hub):
    hub.ingress.internal.QUEUE = {}
    hub.ingress.internal.EXCHANGES = {}


async def get(hub, routing_key=None):
    """Give the queue of a routing key: `await queue.get()` gives the next body, `get_event()` the whole event."""
    return mailbox(hub, routing_key or "")


def mailbox(hub, routing_key):
    """Give the queue of a routing key; the first to ask for it makes it."""
    queues = hub.ingress.internal.QUEUE
    if routing_key not in queues:
        queues[routing_key] = engine_mailbox.Mailbox(100_000, f"the in-memory queue {routing_key!r}")
    return queues[routing_key]


def publish_now(hub, ctx, events):
    """Append events to their queues, run by run, until one has no room; gives how many had."""
    acct = ctx["acct"]  # ten times as fast as ctx.acct
    if key := acct.get("routing_key"):
        return _append(hub, ctx, key, events)
    done = 0
    while done < len(events):
        event = events[done]
        if event.headers and SERVICE_HEADER in event.headers:
            if _exchange_full(hub, event):
                break
            done += 1
            continue
        key, more = event.routing_key, range(done + 1, len(events))
        end = next((at for at in more if events[at].routing_key != key or events[at].headers), len(events))
        taken = _append(hub, ctx, key, events[done:end])
        done += taken
        if done < end:
            break
    return done


def _exchange_full(hub, event):
    """Put a service's event to the queues that want it; gives a full one, where no queue has got it."""
    exchange = hub.ingress.internal.EXCHANGES.get(f"{event.headers[SERVICE_HEADER]}.events")
    return exchange.put(event) if exchange is not None else None


def _append(hub, ctx, key, events):
    queues = ctx.get("queues")  # a look at the hub costs more than all the rest
    if queues is None:
        queues = ctx["queues"] = hub.ingress.internal.QUEUE
    queue = queues.get(key) or mailbox(hub, key)
    if size := ctx["acct"].get("queue_events"):
        queue.maxsize = size
    room = queue.maxsize - len(queue.items) if queue.maxsize > 0 else len(events)
    taken = events if len(events) <= room else events[: max(0, room)]
    queue.extend(taken)
    return len(taken)


async def publish_batch(hub, ctx, events):
    """Append events to their queues, waiting for room; what finds none stays in the lane."""
    done = publish_now(hub, ctx, events)
    if not done:
        queue = _first(hub, ctx, events[0])
        if not await _room(queue):
            return [errors.TransientError(f"{queue.name} is full ({queue.maxsize} events) and nobody reads it")]
        done = publish_now(hub, ctx, events)
    return [None] * done  # the rest is offered again; waiting for it now could be cut off, and repeat what is done


def _first(hub, ctx, event):
    """Give the queue that has no room for an event."""
    if not ctx.acct.get("routing_key") and event.headers and SERVICE_HEADER in event.headers:
        exchange = hub.ingress.internal.EXCHANGES[f"{event.headers[SERVICE_HEADER]}.events"]
        full = [b.mailbox for b in exchange.bindings.values() if b.wants(event.routing_key) and b.mailbox.full()]
        return full[0] if full else mailbox(hub, "")
    return mailbox(hub, ctx.acct.get("routing_key") or event.routing_key)


async def _room(queue):
    """Wait a while for room; whether there is some."""
    try:
        async with asyncio.timeout(FULL_WAIT):
            while queue.full():
                await queue.wait_room()
    except TimeoutError:
        return False
    return True

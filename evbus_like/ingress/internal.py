"""Memory as a destination: a bounded queue per routing key, read in this process with `hub.ingress.internal.get`.

Events of a service go to the queues of the handlers that subscribed to them instead, or nowhere if none has.

.. code-block:: yaml

    internal:
      default:                # no options: the event's routing key names the queue
      audit:
        routing_key: audit    # one queue, whatever the event's routing key
        queue_events: 100000  # how many events a queue holds before its lane waits
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from evbus_like import errors, plugin
from evbus_like.hub import conflict
from evbus_like.memory.queues import Exchange, Mailbox

ACCT = ["internal"]
OPTIONS = {
    "routing_key": (
        (str, type(None)),
        "the queue's name, for all events of the profile (default: the event's routing key)",
    ),
    "queue_events": (int, "how many events one queue holds; while it is full, its lane waits (default: 100000)"),
}
SERVICE_HEADER = plugin.SERVICE_HEADER
FULL_WAIT = 10.0  # seconds to wait for room in a full queue before the batch fails


def __virtual__(hub: Any) -> bool | tuple[bool, str]:
    return conflict.none()  # before pop-evbus's contract is applied to this file


def __init__(hub: Any) -> None:
    hub.ingress.internal.QUEUE = {}
    hub.ingress.internal.EXCHANGES = {}


async def get(hub: Any, routing_key: str | None = None) -> Mailbox:
    """Return the queue of a routing key: `await queue.get()` returns the next body, `get_event()` the whole event."""
    return mailbox(hub, routing_key or "")


def mailbox(hub: Any, routing_key: str) -> Mailbox:
    """Return the queue of a routing key, made at the first call."""
    queues: dict[str, Mailbox] = hub.ingress.internal.QUEUE
    if routing_key not in queues:
        queues[routing_key] = Mailbox(100_000, f"the in-memory queue {routing_key!r}")
    return queues[routing_key]


def publish_now(hub: Any, ctx: plugin.Context, events: Sequence[plugin.Event]) -> int:
    """Append events to their queues until one is full, and return how many were appended."""
    acct = ctx["acct"]  # ten times as fast as ctx.acct
    if key := acct.get("routing_key"):
        return _append(hub, ctx, acct, key, events)
    done = 0
    while done < len(events):
        event = events[done]
        if event.headers and SERVICE_HEADER in event.headers:
            if _publish_to_exchange(hub, event):
                break
            done += 1
            continue
        key, more = event.routing_key, range(done + 1, len(events))
        end = next((at for at in more if events[at].routing_key != key or events[at].headers), len(events))
        taken = _append(hub, ctx, acct, key, events[done:end])
        done += taken
        if done < end:
            break
    return done


def _publish_to_exchange(hub: Any, event: Any) -> Mailbox | None:
    """Put an event of a service to every queue that is bound; return a full one, and then no queue has it."""
    exchange: Exchange | None = hub.ingress.internal.EXCHANGES.get(f"{event.headers[SERVICE_HEADER]}.events")
    return exchange.put(event) if exchange is not None else None


def _append(hub: Any, ctx: plugin.Context, acct: Any, key: str, events: Sequence[plugin.Event]) -> int:
    queues: dict[str, Mailbox] | None = ctx.get("queues")  # a look-up on the hub costs more than all the rest
    if queues is None:
        queues = ctx["queues"] = hub.ingress.internal.QUEUE
    queue = queues.get(key) or mailbox(hub, key)
    if size := acct.get("queue_events"):
        queue.maxsize = size
    room = queue.maxsize - len(queue.items) if queue.maxsize > 0 else len(events)
    taken = events if len(events) <= room else events[: max(0, room)]
    queue.extend(taken)
    return len(taken)


async def publish_batch(hub: Any, ctx: plugin.Context, events: Sequence[plugin.Event]) -> plugin.Outcomes | None:
    """Append events to their queues, waiting for room; those that find none stay in the lane."""
    done = publish_now(hub, ctx, events)
    if not done:
        queue = _first_full(hub, ctx, events[0])
        if not await _room(queue):
            return [errors.TransientError(f"{queue.name} is full ({queue.maxsize} events) and nobody reads it")]
        done = publish_now(hub, ctx, events)
    return [None] * done  # the lane offers the rest again; a deadline while waiting for it here would repeat these


def _first_full(hub: Any, ctx: plugin.Context, event: plugin.Event) -> Mailbox:
    """Return the queue that has no room for an event."""
    if not ctx.acct.get("routing_key") and event.headers and SERVICE_HEADER in event.headers:
        exchange: Exchange = hub.ingress.internal.EXCHANGES[f"{event.headers[SERVICE_HEADER]}.events"]
        full = [queue for queue in exchange.route(event.routing_key) if queue.full()]
        return full[0] if full else mailbox(hub, "")
    return mailbox(hub, ctx.acct.get("routing_key") or event.routing_key)


async def _room(queue: Mailbox) -> bool:
    """Wait for room, and return whether there is some."""
    try:
        async with asyncio.timeout(FULL_WAIT):
            while queue.full():
                await queue.wait_room()
    except TimeoutError:
        return False
    return True

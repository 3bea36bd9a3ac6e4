"""hub.evbus.broker: put events on the bus."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from evbus_like.engine import event as engine_event
from evbus_like.engine.event import Event
from evbus_like.engine.queue import Queue
from evbus_like.engine.receipt import Receipt
from evbus_like.hub import plugins, runtime
from evbus_like.hub.profiles import settings

Confirm = Literal["queued", "accepted", "delivered"]
Headers = Mapping[str, Any] | None


def __init__(hub: runtime.Hub) -> None:
    runtime.bind_puts(hub)


async def init(hub: runtime.Hub) -> Queue[Event]:
    """Return the intake queue; kept for applications of pop-evbus, which had to call it first."""
    return hub.evbus.BUS


async def put(
    hub: runtime.Hub,
    routing_key: str = "",
    body: Any = None,
    profile: str = "default",
    headers: Headers = None,
    key: str | bytes | None = None,
    confirm: Confirm = "accepted",
    timeout: float | None = None,
    within: Any = None,
    *,
    expires: float | None = None,
    priority: int | None = None,
    delay: float | None = None,
    at: datetime | None = None,
) -> Receipt:
    """Put an event on the bus and return its receipt; works from any thread and any event loop.

    Return when the event is *accepted*: routed and serialized, so the body may be changed again. Before the bus runs,
    the event is only queued. `confirm="queued"` always only queues; `confirm="delivered"` waits until every matching
    destination has confirmed, or raises NotDelivered. `timeout` is in seconds (None: the setting put_timeout).

    `within` is a connection of the application to its PostgreSQL, in a transaction: the event is stored in it, and
    delivered after the commit. It is one of psycopg 3 or asyncpg, SQLAlchemy's session or connection, or Django's.

    `expires`: seconds from now on after which nobody wants the event: it is neither sent nor handled any more, and is
    counted. `priority`, from 0 to 255, is for RabbitMQ alone: from a queue with priorities, higher ones come first.

    With `delay`, in seconds, or `at`, a datetime with a time zone, the event is stored in the outbox, or `within` your
    transaction, and sent when it is due, never before; the receipt's `schedule_id` is for `cancel`. `expires` counts
    from then on.

    Raises BadEvent, SerializeError (with the place in the body), EventTooLarge, PutTimeout, NotDelivered, BusStopped;
    with `within`, `delay` or `at` StorageError, and LifecycleError where nothing can store the event.
    """
    putter = hub.evbus.RUNTIME.putter
    given = (routing_key, body, profile, headers, key, confirm, timeout, within)
    return await putter.put(*given, expires=expires, priority=priority, delay=delay, at=at)


async def cancel(hub: runtime.Hub, schedule_id: str, within: Any = None) -> bool:
    """Delete an event that was put with `delay` or `at`, by the `schedule_id` of its receipt, before it is due.

    Return False if no event with this id waits in this process's outbox or in a PostgreSQL of the profiles: it was sent
    or cancelled before. With `within`, a connection as for `put`, an event in that database is deleted if your
    transaction commits. Works from any thread and any event loop. Raises LifecycleError unless the bus runs, and
    StorageError.
    """
    return await hub.evbus.RUNTIME.putter.cancel(schedule_id, within)


def put_nowait(
    hub: runtime.Hub,
    routing_key: str = "",
    body: Any = None,
    profile: str = "default",
    headers: Headers = None,
    key: str | bytes | None = None,
    within: Any = None,
    *,
    expires: float | None = None,
    priority: int | None = None,
) -> str:
    """Put an event on the bus without waiting, and return its id; works from any thread, also without an event loop.

    The body must not be changed afterwards. If it cannot be serialized, the error callback is called and it is counted.
    `within` is a blocking connection, as for `put`. Raises BadEvent, QueueFull, BusStopped, and with `within`
    SerializeError, EventTooLarge and StorageError.
    """
    return hub.evbus.RUNTIME.putter.put_nowait(
        routing_key, body, profile, headers, key, within, expires=expires, priority=priority
    )


async def dispatch(
    hub: runtime.Hub,
    service: str,
    event_type: str,
    body: Any,
    profile: str = "default",
    headers: Headers = None,
    key: str | bytes | None = None,
    confirm: Confirm = "accepted",
    timeout: float | None = None,
    within: Any = None,
    *,
    expires: float | None = None,
    priority: int | None = None,
    delay: float | None = None,
    at: datetime | None = None,
) -> Receipt:
    """Put an event of a service and return its receipt; `event_type` is the routing key.

    RabbitMQ gets it at the topic exchange `{service}.events`, Kafka at the topic of that name, unless the profile names
    another. It is no error if nobody receives it. Raises what `put` raises, and BadEvent if the service or the type is
    empty or not text.
    """
    headers = engine_event.service_headers(service, event_type, headers)
    given = (event_type, body, profile, headers, key, confirm, timeout, within)
    receipt: Receipt = await hub.evbus.broker.put(*given, expires=expires, priority=priority, delay=delay, at=at)
    return receipt


def dispatch_nowait(
    hub: runtime.Hub,
    service: str,
    event_type: str,
    body: Any,
    profile: str = "default",
    headers: Headers = None,
    key: str | bytes | None = None,
    within: Any = None,
    *,
    expires: float | None = None,
    priority: int | None = None,
) -> str:
    """Put an event of a service without waiting, and return its id; raises what `put_nowait` raises."""
    headers = engine_event.service_headers(service, event_type, headers)
    event_id: str = hub.evbus.broker.put_nowait(
        event_type, body, profile, headers, key, within, expires=expires, priority=priority
    )
    return event_id


async def get(hub: runtime.Hub) -> Event:
    """Take the oldest event from the intake queue, its body serialized, in a program without a running bus."""
    event = await hub.evbus.BUS.get()
    serializer = plugins.serializer(hub, settings.serializer_name(hub))
    event.body = serializer.pack(event.body, ())
    event.content_type = serializer.content_type
    return event

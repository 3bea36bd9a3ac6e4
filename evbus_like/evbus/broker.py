"""hub.evbus.broker: put events on the bus."""

from collections.abc import Mapping
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
) -> Receipt:
    """Put an event on the bus and return its receipt; works from any thread and any event loop.

    Return when the event is *accepted*: routed and serialized, so the body may be changed again. Before the bus runs,
    the event is only queued. `confirm="queued"` always only queues; `confirm="delivered"` waits until every matching
    destination has confirmed, or raises NotDelivered. `timeout` is in seconds (None: the setting put_timeout).

    Raises BadEvent, SerializeError (with the place in the body), EventTooLarge, PutTimeout, NotDelivered, BusStopped.
    """
    return await hub.evbus.RUNTIME.putter.put(routing_key, body, profile, headers, key, confirm, timeout)


def put_nowait(
    hub: runtime.Hub,
    routing_key: str = "",
    body: Any = None,
    profile: str = "default",
    headers: Headers = None,
    key: str | bytes | None = None,
) -> str:
    """Put an event on the bus without waiting, and return its id; works from any thread, also without an event loop.

    The body must not be changed afterwards. If it cannot be serialized, the error callback is called and it is counted.
    Raises BadEvent, QueueFull, BusStopped.
    """
    return hub.evbus.RUNTIME.putter.put_nowait(routing_key, body, profile, headers, key)


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
) -> Receipt:
    """Put an event of a service and return its receipt; `event_type` is the routing key.

    RabbitMQ gets it at the topic exchange `{service}.events`, Kafka at the topic of that name, unless the profile names
    another. It is no error if nobody receives it. Raises what `put` raises, and BadEvent if the service or the type is
    empty or not text.
    """
    headers = engine_event.service_headers(service, event_type, headers)
    receipt: Receipt = await hub.evbus.broker.put(event_type, body, profile, headers, key, confirm, timeout)
    return receipt


def dispatch_nowait(
    hub: runtime.Hub,
    service: str,
    event_type: str,
    body: Any,
    profile: str = "default",
    headers: Headers = None,
    key: str | bytes | None = None,
) -> str:
    """Put an event of a service without waiting, and return its id; raises what `put_nowait` raises."""
    headers = engine_event.service_headers(service, event_type, headers)
    event_id: str = hub.evbus.broker.put_nowait(event_type, body, profile, headers, key)
    return event_id


async def get(hub: runtime.Hub) -> Event:
    """Take the oldest event from the intake queue, its body serialized, in a program without a running bus."""
    event = await hub.evbus.BUS.get()
    serializer = plugins.serializer(hub, settings.serializer_name(hub))
    event.body = serializer.pack(event.body, ())
    event.content_type = serializer.content_type
    return event

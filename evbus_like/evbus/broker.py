"""hub.evbus.broker: put events on the bus."""

from evbus_like.engine import event as engine_event
from evbus_like.hub import plugins
from evbus_like.hub.profiles import settings


def __init__(hub):
    """Bind put and put_nowait straight to the engine, unless an application wrapped a contract around them.

    The hub's wrapper would cost more than all the rest of the road: 4 of 7 microseconds for a call by keywords.
    """
    for name in ("put", "put_nowait"):
        if not hub.evbus.broker[name]._has_contracts:
            setattr(hub.evbus.broker, name, getattr(hub.evbus.RUNTIME.putter, name))


async def init(hub):
    """Give the intake queue; kept for applications of pop-evbus, which had to call it first."""
    return hub.evbus.BUS


async def put(
    hub, routing_key="", body=None, profile="default", headers=None, key=None, confirm="accepted", timeout=None
):
    """Put an event on the bus and give its receipt; works from any thread and any event loop.

    Returns when the event is *accepted*: routed and serialized, so that the body may be changed again. Before the
    listener runs it only queues. `confirm="queued"` only queues always; `confirm="delivered"` waits until every
    matching destination has confirmed, or raises NotDelivered. `timeout` is in seconds (None: the setting put_timeout).

    Raises BadEvent, SerializeError (with the place in the body), EventTooLarge, PutTimeout, NotDelivered, BusStopped.
    """
    return await hub.evbus.RUNTIME.putter.put(routing_key, body, profile, headers, key, confirm, timeout)


def put_nowait(hub, routing_key="", body=None, profile="default", headers=None, key=None):
    """Hand an event over and give its id, without waiting; works from any thread, before any event loop too.

    The body must not be changed afterwards. One that cannot be serialized is told to the error callback and counted.
    Raises BadEvent, QueueFull, BusStopped.
    """
    return hub.evbus.RUNTIME.putter.put_nowait(routing_key, body, profile, headers, key)


async def dispatch(
    hub,
    service,
    event_type,
    body,
    profile="default",
    headers=None,
    key=None,
    confirm="accepted",
    timeout=None,
):
    """Put an event of a service and give its receipt: `put` with `event_type` for a routing key, and `service` said.

    RabbitMQ gets it at the topic exchange `{service}.events`, Kafka at the topic of that name, unless the profile names
    another. Nobody need listen. Raises what `put` raises, BadEvent also for a service or type that is no text or empty.
    """
    headers = engine_event.service_headers(service, event_type, headers)
    return await hub.evbus.broker.put(event_type, body, profile, headers, key, confirm, timeout)


def dispatch_nowait(hub, service, event_type, body, profile="default", headers=None, key=None):
    """Hand an event of a service over and give its id, as `put_nowait` does; raises what that raises."""
    headers = engine_event.service_headers(service, event_type, headers)
    return hub.evbus.broker.put_nowait(event_type, body, profile, headers, key)


async def get(hub):
    """Take the oldest event off the bus, its body serialized, instead of a listener."""
    event = await hub.evbus.BUS.get()
    serializer = plugins.serializer(hub, settings.serializer_name(hub))
    event.body = serializer.pack(event.body, ())
    event.content_type = serializer.content_type
    return event

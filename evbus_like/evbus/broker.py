"""hub.evbus.broker: put events on the bus."""

from evbus_like.bridge import defaults, plugins


def __init__(hub):
    """Bind put and put_nowait straight to the engine, unless an application wrapped a contract around them.

    The hub's wrapper would cost more than all the rest of the road: 4 of 7 microseconds for a call by keywords.
    """
    for name in ("put", "put_nowait"):
        if not hub.evbus.broker[name]._has_contracts:
            setattr(hub.evbus.broker, name, getattr(hub.evbus.PUTTER, name))


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
    return await hub.evbus.PUTTER.put(routing_key, body, profile, headers, key, confirm, timeout)


def put_nowait(hub, routing_key="", body=None, profile="default", headers=None, key=None):
    """Hand an event over and give its id, without waiting; works from any thread, before any event loop too.

    The body must not be changed afterwards. One that cannot be serialized is told to the error callback and counted.
    Raises BadEvent, QueueFull, BusStopped.
    """
    return hub.evbus.PUTTER.put_nowait(routing_key, body, profile, headers, key)


async def get(hub):
    """Take the oldest event off the bus, its body serialized, instead of a listener."""
    event = await hub.evbus.BUS.get()
    serializer = plugins.serializer(hub, defaults.serializer_name(hub))
    event.body = serializer.pack(event.body, ())
    event.content_type = serializer.content_type
    return event

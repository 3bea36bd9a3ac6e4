"""hub.evbus.rpc: serve the `service` dyne, find the way to services; calls are `hub.rpc.<service>.<method>(...)`."""

from evbus_like.bridge import calls, defaults, plugins, services
from evbus_like.engine import errors
from evbus_like.engine.consuming import group


def __init__(hub):
    hub.evbus.rpc.GROUP = None
    hub.evbus.rpc.CALLS = calls.Calls(hub)
    hub.rpc = calls.Callers(hub.evbus.rpc.CALLS)


async def start(hub, contexts=None, only=(), skip=()):
    """Serve every plugin of the `service` dyne; returns at once, sources are waited for. Gives the number of services.

    The bus must run, in this event loop. `only` and `skip` are patterns of `service.method` or of services. Raises
    HandlerError that names everything that is wrong, and LifecycleError.
    """
    if hub.evbus.rpc.GROUP is not None:
        raise errors.LifecycleError("the services are started already; await hub.evbus.rpc.stop() first")
    hub.evbus.ENGINE.must_be_here("hub.evbus.rpc.start")
    hub.pop.sub.add(dyne_name="service")
    hub.evbus.BROKEN["service"] = plugins.broken(hub.service)
    found = services.found(hub, only, skip)
    made = group.Group()
    made.start(services.consumers(hub, hub.evbus.CONTEXTS if contexts is None else contexts, found, made))
    hub.evbus.rpc.GROUP = made
    return len(found)


async def join(hub, timeout=30.0):
    """Wait until every service can be called; raises TimeoutError after `timeout` seconds, naming those that cannot."""
    if hub.evbus.rpc.GROUP is None:
        raise errors.LifecycleError("the services are not started; await hub.evbus.rpc.start() first")
    await hub.evbus.rpc.GROUP.subscribed(timeout)


async def stop(hub, timeout=None):
    """Take no more requests, and give the methods under way `timeout` seconds (None: the setting stop_timeout).

    Requests that were received and not answered come again elsewhere, or after the next start.
    """
    made, hub.evbus.rpc.GROUP = hub.evbus.rpc.GROUP, None
    if made is not None:
        await made.stop(float(defaults.config(hub, "stop_timeout", 30.0)) if timeout is None else timeout)


def register(hub, service, profile):
    """Say that a service is reached by another profile than `default`: "orders", or "amqp:orders"."""
    hub.evbus.rpc.CALLS.register(service, profile)


def status(hub):
    """Give the counts and states of what is served and of what was called, as plain data."""
    made = hub.evbus.rpc.GROUP
    return {"serving": made.status() if made is not None else {}, "calling": hub.evbus.rpc.CALLS.status()}

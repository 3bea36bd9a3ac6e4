"""hub.evbus.rpc: serve the `service` dyne, find the way to services; calls are `hub.rpc.<service>.<method>(...)`."""

from evbus_like.engine import errors
from evbus_like.hub.application import rpc_proxy
from evbus_like.hub.profiles import settings


def __init__(hub):
    hub.rpc = rpc_proxy.RpcProxy(hub)


async def start(hub, contexts=None, only=(), skip=()):
    """Serve every plugin of the `service` dyne; returns at once, sources are waited for. Gives the number of services.

    The bus must run, in this event loop. `only` and `skip` are patterns of `service.method` or of services. Raises
    HandlerError that names everything that is wrong, and LifecycleError.
    """
    # Not before: a program that serves nothing does without what serves, and starts sooner.
    from evbus_like.engine.receiving import group
    from evbus_like.hub.application import services

    if hub.evbus.RUNTIME.services is not None:
        raise errors.LifecycleError("the services are started already; await hub.evbus.rpc.stop() first")
    hub.evbus.RUNTIME.bus.require_running("hub.evbus.rpc.start")
    found = services.found(hub, only, skip)
    made = group.Group()
    made.start(services.consumers(hub, hub.evbus.RUNTIME.contexts if contexts is None else contexts, found, made))
    hub.evbus.RUNTIME.services = made
    return len(found)


async def join(hub, timeout=30.0):
    """Wait until every service can be called; raises TimeoutError after `timeout` seconds, naming those that cannot."""
    if hub.evbus.RUNTIME.services is None:
        raise errors.LifecycleError("the services are not started; await hub.evbus.rpc.start() first")
    await hub.evbus.RUNTIME.services.subscribed(timeout)


async def stop(hub, timeout=None):
    """Take no more requests, and give the methods under way `timeout` seconds (None: the setting stop_timeout).

    Requests that were received and not answered come again elsewhere, or after the next start.
    """
    made = hub.evbus.RUNTIME.services
    if made is None:
        return
    await made.stop(float(settings.config(hub, "stop_timeout", 30.0)) if timeout is None else timeout)
    if hub.evbus.RUNTIME.services is made:  # not before: whoever stops the bus meanwhile waits as well
        hub.evbus.RUNTIME.services = None


async def call(hub, service, method, args=(), kwargs=None, timeout=None, headers=None):
    """Call a method by its names, and give its result: the form for arguments that are called `timeout`, and headers.

    `headers` go with the request, beside those that are carried on; `nameko.` ones go on with all that the method calls
    and puts. `timeout` is in seconds (None: the setting rpc_timeout). Raises what `hub.rpc.<service>.<method>()` does.
    """
    return await rpc_proxy.calls(hub).call(service, method, args, kwargs or {}, timeout, rpc_proxy.CALL, headers)


def register(hub, service, profile=None, exchange=None, notifications=None):
    """Say how a service is reached; what is not said stays as it is by default. Wins over the services file.

    `profile` carries its calls: "orders", or "amqp:orders" where several providers have that profile. `exchange` is
    the one of its calls (nameko-rpc), `notifications` that of what it publishes, which some profile must name. Raises
    HandlerError.
    """
    rpc_proxy.calls(hub).register(service, profile=profile, exchange=exchange, notifications=notifications)


def status(hub):
    """Give the counts and states of what is served and of what was called, as plain data."""
    made, called = hub.evbus.RUNTIME.services, hub.evbus.RUNTIME.rpc_clients
    return {
        "serving": made.status() if made is not None else {},
        "calling": called.status() if called is not None else {},
    }

"""hub.evbus.rpc: serve the `service` dyne, and configure calls, which are `hub.rpc.<service>.<method>(...)`."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from evbus_like.engine import errors
from evbus_like.hub import runtime
from evbus_like.hub.application import lifespan, rpc_proxy
from evbus_like.hub.profiles import settings


def __init__(hub: runtime.Hub) -> None:
    hub.rpc = rpc_proxy.RpcProxy(hub)


async def start(
    hub: runtime.Hub, contexts: runtime.Contexts | None = None, only: Collection[str] = (), skip: Collection[str] = ()
) -> int:
    """Serve every plugin of the `service` dyne, and return the number of services.

    It does not wait for the sources; `join` does. The bus must run, in this event loop. `only` and `skip` are patterns
    of `service.method` or of services. Raises HandlerError that names every problem, and LifecycleError.
    """
    # Imported here, so that a program that serves nothing starts sooner.
    from evbus_like.engine.receiving import group
    from evbus_like.hub.application import services

    if hub.evbus.RUNTIME.services is not None:
        raise errors.LifecycleError("the services are started already; await hub.evbus.rpc.stop() first")
    hub.evbus.RUNTIME.bus.require_running("hub.evbus.rpc.start")
    found = services.found(hub, only, skip)
    made = group.Group()
    made.follows_reload = contexts is None
    made.start(services.consumers(hub, hub.evbus.RUNTIME.contexts if contexts is None else contexts, found, made))
    hub.evbus.RUNTIME.services = made
    return len(found)


async def join(hub: runtime.Hub, timeout: float = 30.0) -> None:
    """Wait until every service can be called; raises TimeoutError, which names the others, after `timeout` seconds.

    If no handlers were started, the application's lifespan functions `ready` run then, as in `handlers.join`.
    """
    if hub.evbus.RUNTIME.services is None:
        raise errors.LifecycleError("the services are not started; await hub.evbus.rpc.start() first")
    await hub.evbus.RUNTIME.services.subscribed(settings.checked_timeout(timeout))
    if hub.evbus.RUNTIME.handlers is None:
        await lifespan.ready(hub)


async def stop(hub: runtime.Hub, timeout: float | None = None) -> None:
    """Accept no more requests, and give running methods `timeout` seconds to finish (None: the setting stop_timeout).

    Requests that were received and not answered are delivered again, elsewhere or after the next start.
    """
    timeout = settings.stop_timeout(hub, timeout)
    made = hub.evbus.RUNTIME.services
    if made is None:
        return
    hub.evbus.RUNTIME.bus.require_not_forked()
    await made.stop(timeout)
    if hub.evbus.RUNTIME.services is made:  # only now: a second stop waits, too
        hub.evbus.RUNTIME.services = None


async def call(
    hub: runtime.Hub,
    service: str,
    method: str,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    timeout: float | None = None,
    headers: Mapping[str, Any] | None = None,
) -> Any:
    """Call a method by its names and return its result; for headers, and for arguments that are named `timeout`.

    `headers` are sent with the request, in addition to those that are passed on; headers that begin with `nameko.` are
    passed on to everything that the method calls and puts. `timeout` is in seconds (None: the setting rpc_timeout).
    Raises what `hub.rpc.<service>.<method>()` does.
    """
    return await rpc_proxy.calls(hub).call(service, method, args, kwargs or {}, timeout, headers=headers)


def register(
    hub: runtime.Hub,
    service: str,
    profile: str | None = None,
    exchange: str | None = None,
    notifications: str | None = None,
) -> None:
    """Set how a service is reached; what is not given has its default. It overrides the services file.

    `profile` carries the calls: "orders", or "amqp:orders" if several providers have that profile. `exchange` is that
    of the calls (nameko-rpc), `notifications` that of what the service publishes, which a profile must name. Raises
    HandlerError.
    """
    rpc_proxy.calls(hub).register(service, profile=profile, exchange=exchange, notifications=notifications)


def status(hub: runtime.Hub) -> dict[str, Any]:
    """Return the counts and states of what is served and of what was called, as plain data."""
    made, called = hub.evbus.RUNTIME.services, hub.evbus.RUNTIME.rpc_clients
    return {
        "serving": made.status() if made is not None else {},
        "calling": called.status() if called is not None else {},
    }

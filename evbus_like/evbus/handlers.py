"""hub.evbus.handlers: receive events, with the marked functions of an application's handler plugins."""

from collections.abc import Collection
from typing import Any

from evbus_like.engine import errors
from evbus_like.hub import runtime
from evbus_like.hub.application import lifespan
from evbus_like.hub.profiles import settings


async def start(
    hub: runtime.Hub, contexts: runtime.Contexts | None = None, only: Collection[str] = (), skip: Collection[str] = ()
) -> int:
    """Start to receive for every marked function of the `handler` dyne, and return the number of handlers.

    It does not wait for the sources; `join` does. The bus must run, in this event loop. `contexts` are by default those
    that the bus was started with. `only` and `skip` are patterns of `service.name` or of services. Raises HandlerError
    that names every problem, and LifecycleError.
    """
    # Imported here, so that a program that only puts events starts sooner.
    from evbus_like.engine.receiving import group
    from evbus_like.hub import pauses
    from evbus_like.hub.application import binding, handlers, responses, rpc_proxy

    if hub.evbus.RUNTIME.handlers is not None:
        raise errors.LifecycleError("the handlers are started already; await hub.evbus.handlers.stop() first")
    hub.evbus.RUNTIME.bus.require_running("hub.evbus.handlers.start")
    handlers.load(hub)
    found, wrong = handlers.looked_up(hub, only, skip)
    waiting, mistaken = responses.looked_up(hub, only, skip)
    made = group.Group()
    made.follows_reload = contexts is None
    hub.evbus.RUNTIME.handlers = made  # before the first await: a second start is refused
    try:
        contexts = hub.evbus.RUNTIME.contexts if contexts is None else contexts
        consumers = await binding.consumers(hub, contexts, found, made, [*wrong, *mistaken])
        if hub.evbus.RUNTIME.handlers is not made:
            raise errors.LifecycleError("the handlers were stopped before they had started")
        of_answers = responses.consumers(hub, waiting, made, lambda service: rpc_proxy.calls(hub).way(service))
        made.consumers = [*consumers, *of_answers]
        made.follows_pauses = True
        pauses.apply(hub, pauses.current(hub))
        made.start(made.consumers)
    except BaseException:
        if made.inboxes is not None:
            await made.inboxes.close()
        if hub.evbus.RUNTIME.handlers is made:
            hub.evbus.RUNTIME.handlers = None
        raise
    return len(found) + len(waiting)


def transactions(hub: runtime.Hub, profile: str, connect: Any) -> None:
    """Have handlers with `inbox=profile` use the application's own connections; call it before the handlers start.

    `connect` is called for each event and returns an asynchronous context manager of a connection that is in no
    transaction: `pool.connection` of psycopg's AsyncConnectionPool, `pool.acquire` of asyncpg, an async_sessionmaker or
    `engine.connect` of SQLAlchemy. It must lead to the database of the profile. Raises HandlerError.
    """
    from evbus_like.hub.application import inboxes

    inboxes.use(hub, profile, connect)


async def join(hub: runtime.Hub, timeout: float = 30.0) -> None:
    """Wait until every handler receives; raises TimeoutError, which names the others, after `timeout` seconds.

    Then the application's lifespan functions `ready` run, once, within the setting lifespan_timeout; raises
    LifecycleError if one fails.
    """
    await _group(hub).subscribed(settings.checked_timeout(timeout))
    await lifespan.ready(hub)


async def ended(hub: runtime.Hub) -> None:
    """Wait until the handlers have stopped; raises HandlerShutdown if one with on_error=SHUTDOWN failed."""
    await _group(hub).ended()


async def stop(hub: runtime.Hub, timeout: float | None = None) -> None:
    """Stop receiving, and give running handlers `timeout` seconds to finish (None: the setting stop_timeout).

    Events that were received and not handled are delivered again after the next start. Stop the handlers before the
    bus, so that what they put is delivered; `hub.evbus.init.stop` does so. Any event loop may call this.
    """
    timeout = settings.stop_timeout(hub, timeout)
    made = hub.evbus.RUNTIME.handlers
    if made is None:
        return
    hub.evbus.RUNTIME.bus.require_not_forked()
    await made.stop(timeout)
    if hub.evbus.RUNTIME.handlers is made:  # only now: a second stop waits, too
        hub.evbus.RUNTIME.handlers = None


def status(hub: runtime.Hub) -> dict[str, Any]:
    """Return the counts and the state of every handler on every source, as plain data; empty before a start."""
    made = hub.evbus.RUNTIME.handlers
    return made.status() if made is not None else {}


def _group(hub: runtime.Hub) -> Any:
    if hub.evbus.RUNTIME.handlers is None:
        raise errors.LifecycleError("the handlers are not started; await hub.evbus.handlers.start() first")
    return hub.evbus.RUNTIME.handlers

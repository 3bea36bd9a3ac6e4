"""Run an application's handlers and services on a bus in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any

from evbus_like.engine.errors import HandlerError
from evbus_like.hub import call_handler, recorder
from evbus_like.hub.application import handlers, lifespan, responses, rpc_proxy, services
from evbus_like.testing.bus import TIMEOUT, Bus
from evbus_like.testing.running import new_hub


@asynccontextmanager
async def handling(
    hub: Any = None,
    only: Collection[str] | str = (),
    skip: Collection[str] | str = (),
    timeout: float = TIMEOUT,
    postgres: Mapping[str, Any] | None = None,
) -> AsyncIterator[Bus]:
    """Start a bus in memory with the handlers and services that pop finds; yield it, and stop it at the end.

    Every event profile, source and service is in memory, whatever its name. `only` and `skip` are patterns of
    "service.name" or of services; `timeout` is the deadline of the stop in seconds. `postgres` are profiles of that
    provider, {name: {"connection": ...}}, for handlers with `inbox=` and events put within a transaction; without them
    the inbox is left out. Raises HandlerError that names every invalid handler and service, or if there are none.

    .. code-block:: python

        async with handling(only="shipping") as bus:
            await bus.dispatch("orders", "order_placed", {"id": 7})
            await bus.handled("shipping.ship")
            assert bus.find("shipped")[0].body == {"id": 7}
    """
    hub = hub or new_hub()
    handlers.load(hub)
    only, skip = ((each,) if isinstance(each, str) else tuple(each) for each in (only, skip))
    chosen, of_answers = handlers.found(hub, only, skip), responses.found(hub, only, skip)
    served = services.found(hub, only, skip)
    if not (chosen or of_answers or served):
        raise HandlerError(_nothing(hub, only, skip))
    rpc_proxy.calls(hub).only = call_handler.SOURCE
    profiles: dict[str, Any] = {**recorder.PROFILES, **({"postgres": postgres} if postgres else {})}
    listener = asyncio.create_task(hub.evbus.init.start({"match_plugin": "glob", **profiles}))
    try:
        await hub.evbus.init.join()
        bus = Bus(hub, chosen, of_answers, served, profiles)
        try:
            await bus.start()
            await lifespan.ready(hub)
            yield bus
        finally:
            await bus.stop(timeout)
    finally:
        if hub.evbus.STARTED:
            await hub.evbus.init.stop(timeout)
        await asyncio.gather(listener, return_exceptions=True)


def _nothing(hub: Any, only: Any, skip: Any) -> str:
    """Return a sentence that says why there is nothing to run."""
    known = [".".join(each) for each in (*handlers.names(hub), *responses.names(hub), *services.names(hub))]
    if known:
        return f"only={only!r}, skip={skip!r} leave no handler and no service; there are {', '.join(known)}"
    return (
        "no handler and no service was found: is the application's package, with"
        ' DYNE = {"handler": ["handler"], "service": ["service"]} in its conf.py, in a folder of sys.path? pytest\'s'
        " setting pythonpath adds one"
    )

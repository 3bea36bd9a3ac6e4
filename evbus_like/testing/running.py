"""A bus for one test: a hub of its own, started and stopped around it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pop.hub


def new_hub() -> Any:
    """Return a new hub with the bus on it, not started."""
    hub = pop.hub.Hub()
    hub.pop.sub.add(dyne_name="evbus")
    return hub


@asynccontextmanager
async def running(
    profiles: Mapping[str, Any] | None = None, hub: Any = None, timeout: float = 30.0
) -> AsyncIterator[Any]:
    """Start a bus with these profiles, by default one in memory; yield its hub, and stop it at the end.

    `profiles` is the content of a credentials file, {provider: {profile: data}}; `timeout` is the deadline of the stop
    in seconds. Raises what `hub.evbus.init.start` raises. A test may stop the bus itself, to look at the account.

    .. code-block:: python

        async with running() as hub:
            await my_app_function(hub)
            queue = await hub.ingress.internal.get("orders")
            assert await queue.get() == b'{"id":7}'
    """
    hub = hub or new_hub()
    contexts = await hub.evbus.acct.profiles(
        acct_data={"internal": {"default": None}} if profiles is None else profiles
    )
    listener = asyncio.create_task(hub.evbus.init.start(contexts))
    try:
        await hub.evbus.init.join()
        yield hub
    finally:
        if hub.evbus.STARTED:
            await hub.evbus.init.stop(timeout)
        await asyncio.gather(listener, return_exceptions=True)


async def eventually(condition: Callable[[], Any], timeout: float = 60.0) -> None:
    """Return once the condition holds; raises TimeoutError after `timeout` seconds."""
    try:
        async with asyncio.timeout(timeout):
            while not condition():  # noqa: ASYNC110 - the condition may be anything, so it cannot wake us
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise TimeoutError(f"the condition did not hold within {timeout:g} s") from None

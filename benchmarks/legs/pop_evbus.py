"""pop-evbus for the legs: a hub whose bus runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pop.hub


@asynccontextmanager
async def running(profiles: Mapping[str, Any]) -> AsyncIterator[Any]:
    """Give a hub whose bus runs with these profiles, and end its listener."""
    hub = pop.hub.Hub()
    hub.pop.sub.add(dyne_name="log")
    hub.pop.sub.add(dyne_name="evbus")
    hub.pop.loop.CURRENT_LOOP = asyncio.get_running_loop()
    hub.OPT = {"evbus": {"error_callback_ref": None}}
    contexts = await hub.evbus.acct.profiles(acct_data=profiles)
    listener = asyncio.create_task(hub.evbus.init.start(contexts))
    await hub.evbus.init.join()
    try:
        yield hub
    finally:
        listener.cancel()
        await asyncio.gather(listener, return_exceptions=True)

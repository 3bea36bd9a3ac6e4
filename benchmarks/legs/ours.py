"""evbus_like for the legs: a hub whose bus runs, and events that are put as fast as there is room for them."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pop.hub
from measure import BURST

from evbus_like.errors import QueueFull


@asynccontextmanager
async def outbox() -> AsyncIterator[None]:
    """Give the outbox a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="evbus-bench-") as folder:
        os.environ["EVBUS_OUTBOX"] = f"{folder}/outbox.sqlite"
        yield
        del os.environ["EVBUS_OUTBOX"]


@asynccontextmanager
async def running(profiles: Mapping[str, Any]) -> AsyncIterator[Any]:
    """Give a hub whose bus runs with these profiles, and stop it at the end."""
    hub = pop.hub.Hub()
    hub.pop.sub.add(dyne_name="evbus")
    listener = asyncio.create_task(hub.evbus.init.start(await hub.evbus.acct.profiles(acct_data=profiles)))
    await hub.evbus.init.join()
    try:
        yield hub
    finally:
        account = await hub.evbus.init.stop(30)
        await asyncio.gather(listener, return_exceptions=True)
        if not account.balanced or account.remaining:
            raise SystemExit(f"not everything was delivered: {account}")


async def put_all(hub: Any, bodies: Iterable[Any], burst: int = BURST) -> None:
    """Put events with put_nowait bound once, giving way after each burst; where there is no room, wait for it."""
    put = hub.evbus.broker.put_nowait
    left = burst
    for body in bodies:
        try:
            put("bench", body)
        except QueueFull:
            await hub.evbus.broker.put("bench", body)
        left -= 1
        if not left:
            left = burst
            await asyncio.sleep(0)


async def delivered(hub: Any, count: int) -> None:
    """Wait until so many deliveries are confirmed."""
    account = hub.evbus.RUNTIME.bus.account
    while account().delivered < count:  # noqa: ASYNC110 - the bus has no event for this
        await asyncio.sleep(0.001)

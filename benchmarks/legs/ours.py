"""evbus_like for the legs: a hub whose bus runs, and events that are put as fast as there is room for them."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pop.hub
from measure import BURST

from evbus_like.errors import QueueFull

NOTHING: Mapping[str, Any] = {}


@asynccontextmanager
async def outbox() -> AsyncIterator[None]:
    """Give the outbox a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="evbus-bench-") as folder:
        os.environ["EVBUS_OUTBOX"] = f"{folder}/outbox.sqlite"
        yield
        del os.environ["EVBUS_OUTBOX"]


@asynccontextmanager
async def running(profiles: Mapping[str, Any], asked: Mapping[str, Any] = NOTHING) -> AsyncIterator[Any]:
    """Give a hub whose bus runs with these profiles, and stop it at the end.

    The leg may ask to be watched, with `port` (open, and nobody reads), with `scraped` (a process reads it every
    second), or with `telemetry` (OpenTelemetry's API is imported, and no SDK is set up). `settings` are
    those of the hub.
    """
    if asked.get("telemetry"):
        import opentelemetry.metrics
        import opentelemetry.trace  # noqa: F401 - the bus looks whether it is imported
    hub = pop.hub.Hub()
    if "settings" in asked:
        hub.OPT = {"evbus_like": asked["settings"]}
    hub.pop.sub.add(dyne_name="evbus")
    listener = asyncio.create_task(hub.evbus.init.start(await hub.evbus.acct.profiles(acct_data=profiles)))
    await hub.evbus.init.join(asked.get("join", 30.0))
    try:
        async with scraped(hub, asked):
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


SCRAPER = """
import sys, time, urllib.request
while True:
    urllib.request.urlopen(sys.argv[1], timeout=10).read()
    print(flush=True)
    time.sleep(1)
"""


@asynccontextmanager
async def scraped(hub: Any, asked: Mapping[str, Any]) -> AsyncIterator[None]:
    """Open the HTTP port if the leg asks for that, and let a process read /metrics at once and then every second."""
    url = await hub.evbus.http.start("0") if asked.get("port") or asked.get("scraped") else None
    if not asked.get("scraped"):
        yield
        return
    scraper = await asyncio.create_subprocess_exec(sys.executable, "-c", SCRAPER, f"{url}/metrics", stdout=PIPE)
    try:
        assert scraper.stdout is not None
        await scraper.stdout.readline()  # the first one is not timed
        yield
    finally:
        scraper.kill()
        await scraper.wait()

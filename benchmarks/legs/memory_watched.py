"""In memory, two buses in one process, of which one is watched: they put in turns, and `kept` is what that one keeps.

On a shared machine the rates of two processes differ by a quarter. Turns that follow each other have the same weather,
so `kept` is the median ratio of such pairs. With `scraped` each turn of the watched bus, of about a second, has one
read of /metrics, whose client runs in this process too.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from statistics import median
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

from measure import BURST, Clock, bodies, config
from ours import running

TURN = 50_000  # events
TURN_SCRAPED = 300_000


async def turn(hub: Any, asked: dict[str, Any], count: int, url: str = "") -> float:
    """Put and read so many events, and give the seconds."""
    put, queue = hub.evbus.broker.put_nowait, await hub.ingress.internal.get("bench")

    async def read() -> None:
        for _ in range(count):
            await queue.get()

    start = perf_counter()
    reader = asyncio.create_task(read())
    scraper = asyncio.create_task(scrape(url)) if url else None
    left = BURST
    for body in bodies(asked, count):
        put("bench", body)
        left -= 1
        if not left:
            left = BURST
            await asyncio.sleep(0)
    await reader
    if scraper is not None:
        await scraper
    return perf_counter() - start


async def scrape(url: str) -> None:
    """Read /metrics once."""
    place = urlsplit(url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    writer.write(f"GET /metrics HTTP/1.1\r\nHost: {place.netloc}\r\nConnection: close\r\n\r\n".encode())
    if b" 200 " not in await reader.readline() or b"evbus_" not in await reader.read():
        raise SystemExit("/metrics was not read")
    writer.close()


async def main() -> None:
    """Run the leg."""
    asked = config()
    scraped = asked.get("scraped", False)
    count = TURN_SCRAPED if scraped else TURN
    pairs = asked["events"] // (2 * count)
    profiles = {"internal": {"default": None}}
    async with AsyncExitStack() as stack:
        plain = await stack.enter_async_context(running(profiles))
        watched = await stack.enter_async_context(running(profiles, {"telemetry": asked.get("telemetry")}))
        url = await watched.evbus.http.start("0") if scraped or asked.get("port") else ""
        scrape_url = url if scraped else ""
        for hub in (plain, watched):
            await turn(hub, asked, BURST * 5)
        clock = Clock()
        kept = []
        for number in range(pairs):
            if number % 2:  # the second of two turns may find a warmer processor
                seconds = await turn(plain, asked, count)
                kept.append(seconds / await turn(watched, asked, count, scrape_url))
            else:
                watched_seconds = await turn(watched, asked, count, scrape_url)
                kept.append(await turn(plain, asked, count) / watched_seconds)
        clock.stop(pairs * 2 * count, kept=median(kept))


asyncio.run(main())

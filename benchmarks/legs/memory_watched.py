"""In memory, two buses in one process, of which one is watched: they put in turns, and `kept` is what that one keeps.

On a shared machine the rates of two processes differ by a quarter. Short turns that follow each other have the same
weather, and `kept` compares the CPU time of all of them, which does not count what other processes take. With `scraped`
/metrics is read once for each second of the watched bus, by a client that runs, and counts, in this process too.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from time import process_time
from typing import Any
from urllib.parse import urlsplit

from measure import BURST, Clock, bodies, config
from ours import running

TURN = 20_000  # events


async def turn(hub: Any, asked: dict[str, Any], count: int, url: str = "") -> float:
    """Put and read so many events, and give the seconds of CPU time."""
    put, queue = hub.evbus.broker.put_nowait, await hub.ingress.internal.get("bench")

    async def read() -> None:
        for _ in range(count):
            await queue.get()

    start = process_time()
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
    return process_time() - start


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
    pairs = asked["events"] // (2 * TURN)
    profiles = {"internal": {"default": None}}
    async with AsyncExitStack() as stack:
        plain = await stack.enter_async_context(running(profiles))
        watched = await stack.enter_async_context(running(profiles, {"telemetry": asked.get("telemetry")}))
        url = await watched.evbus.http.start("0") if asked.get("scraped") or asked.get("port") else ""
        if asked.get("scraped"):
            await scrape(url)  # the first one imports what the others use
        for hub in (plain, watched):
            await turn(hub, asked, TURN)
        clock = Clock()
        alone = seen = unread = 0.0
        for number in range(pairs):
            now_read = asked.get("scraped") and unread >= 1
            for hub in (plain, watched) if number % 2 else (watched, plain):  # the second may find a warmer processor
                if hub is plain:
                    alone += await turn(plain, asked, TURN)
                else:
                    seconds = await turn(watched, asked, TURN, url if now_read else "")
                    seen += seconds
                    unread = seconds if now_read else unread + seconds
        clock.stop(pairs * 2 * TURN, kept=alone / seen)


asyncio.run(main())

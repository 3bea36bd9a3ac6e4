"""evbus_like relays a backlog: to memory, or to RabbitMQ where the leg has a queue.

With `held`, another session holds a snapshot meanwhile, so that no dead row can be removed. With `chunk`, the rows come
in chunks of so many, and `megabytes` is the size of the table with its index at the end.
"""

from __future__ import annotations

import asyncio
import time
from time import perf_counter
from typing import Any

import psycopg
from measure import Clock, config, cpu
from ours import running
from postgres_tables import database, drop, fill

DEADLINE = 800.0
WARM_UP = 1000


async def main() -> None:
    """Run the leg."""
    asked = config()
    count, queues = asked["events"], asked["queues"]
    url = database(asked)
    profiles: dict[str, Any] = {"postgres": {"shop": {"connection": url}}}
    if queues:
        profiles["amqp"] = {"default": {"connection": {"url": asked["amqp_url"]}, "routing_key": queues[0]}}
    else:
        profiles["internal"] = {"default": {"routing_key": "bench"}}
    chunk = asked.get("chunk", count)
    holding = psycopg.connect(url)
    async with running(profiles, asked) as hub:
        with psycopg.connect(url) as conn:
            fill(conn, WARM_UP)
            conn.commit()
            await delivered(hub, WARM_UP)
            if asked.get("held"):
                holding.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                holding.execute("SELECT count(*) FROM evbus_part")
            done, seconds, used = 0, 0.0, 0.0
            while done < count:
                await asyncio.to_thread(fill, conn, chunk - 1)  # seen by nobody before the commit
                # A put of this process, so that the relay, which has slept meanwhile, looks soon.
                hub.evbus.broker.put_nowait("bench", {"message": "event content", "n": 1}, within=conn)
                clock = Clock()
                conn.commit()
                done += chunk
                await delivered(hub, WARM_UP + done)
                seconds, used = seconds + clock.lap(), used + cpu() - clock.cpu
            clock.start, clock.cpu = perf_counter() - seconds, cpu() - used
            clock.stop(count, sent=count + WARM_UP, megabytes=size(conn) / 1e6)
    holding.close()
    drop(asked, url)


async def delivered(hub: Any, count: int) -> None:
    """Wait until so many rows are delivered and deleted; what memory gets is read."""
    queue = hub.ingress.internal.mailbox("bench")
    deadline = time.monotonic() + DEADLINE
    while hub.evbus.init.status()["postgres"]["shop"]["delivered"] < count:
        assert time.monotonic() < deadline, hub.evbus.init.status()
        queue.take(len(queue.items))
        await asyncio.sleep(0.005)


def size(conn: Any) -> float:
    """Give the bytes of the table and its index."""
    found: float = conn.execute("SELECT pg_total_relation_size('evbus_outbox')").fetchone()[0]
    return found


asyncio.run(main())

"""From RabbitMQ into PostgreSQL: a handler that writes a row for each event once; `way` is "inbox" or "by hand"."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import fill
import psycopg
from measure import Clock, bodies, config
from ours import running
from postgres_tables import database, drop
from psycopg_pool import AsyncConnectionPool

APPS = Path(__file__).parent / "apps"
QUEUE, EXCHANGE = "evt-bench-bench--stock.work", "bench.events"
TABLES = """CREATE TABLE work (event_id text NOT NULL, body json NOT NULL);
CREATE TABLE marks (handler text, event_id text, handled_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (handler, event_id))"""
WORKERS = 10  # max_workers of a handler


async def main() -> None:
    """Run the leg."""
    asked = config()
    count, url = asked["events"], database(asked)
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(TABLES)
    sys.path.insert(0, str(APPS))
    os.environ["BENCH_INBOX"] = asked["way"]
    await fill.queue(asked["amqp_url"], QUEUE, bodies(asked, count), EXCHANGE)
    profiles = {
        "amqp": {"default": {"connection": {"url": asked["amqp_url"]}}},
        "postgres": {"shop": {"connection": url, "relay": False}},
    }
    async with (
        AsyncConnectionPool(url, min_size=WORKERS, max_size=WORKERS, open=False) as pool,
        running(profiles, asked) as hub,
    ):
        hub.POOL = pool
        hub.pop.sub.add(dyne_name="handler")
        counter = hub.COUNTER = hub.handler.counter.expect(count)
        clock = Clock()
        await hub.evbus.handlers.start(only=["stock"])
        await counter.done.wait()
        clock.stop(count, left=counter.seen - count)
    with psycopg.connect(url) as conn:
        rows = conn.execute("SELECT count(*), count(DISTINCT event_id) FROM work").fetchone()
    if rows != (count, count):
        raise SystemExit(f"{count} events made {rows} rows")
    await fill.remove(asked["amqp_url"], QUEUE, EXCHANGE)
    drop(asked, url)


asyncio.run(main())

"""One transaction after the other: the application's own single-row INSERT, then a put within it; each is timed.

`ratio` is the time of the puts by that of the INSERTs; `library` is the application's.
"""

from __future__ import annotations

import asyncio
import json
from time import perf_counter
from typing import Any

import asyncpg
import psycopg
from measure import Clock, bodies, config
from ours import running
from postgres_tables import database, drop

TABLE = """CREATE TABLE orders (id bigserial PRIMARY KEY, customer text NOT NULL, item text NOT NULL, note text,
    price numeric NOT NULL, details json, placed timestamptz NOT NULL DEFAULT clock_timestamp())"""
COLUMNS = "INSERT INTO orders (customer, item, note, price, details) VALUES"


async def main() -> None:
    """Run the leg."""
    asked = config()
    url = database(asked)
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(TABLE)
    profiles = {"internal": {"default": None}, "postgres": {"shop": {"connection": url, "relay": False}}}
    async with running(profiles, asked) as hub:
        await (with_asyncpg if asked["library"] == "asyncpg" else with_psycopg)(hub, url, asked)
    drop(asked, url)


async def with_psycopg(hub: Any, url: str, asked: dict[str, Any]) -> None:
    """As an application with psycopg does."""
    sql = f"{COLUMNS} (%s, %s, %s, %s, %s)"
    async with await psycopg.AsyncConnection.connect(url) as conn:

        async def commit() -> None:
            await conn.commit()
            await conn.execute("SELECT 1")  # begins the next one: BEGIN is no part of an INSERT

        await conn.execute("SELECT 1")
        await timed(hub, conn, lambda values: conn.execute(sql, values), commit, asked)


async def with_asyncpg(hub: Any, url: str, asked: dict[str, Any]) -> None:
    """As an application with asyncpg does."""
    conn = await asyncpg.connect(url)
    sql = f"{COLUMNS} ($1, $2, $3, $4, $5)"
    began: list[Any] = []

    async def begin() -> None:
        began.append(conn.transaction())
        await began[-1].start()

    async def commit() -> None:
        await began.pop().commit()
        await begin()

    await begin()
    await timed(hub, conn, lambda values: conn.execute(sql, *values), commit, asked)
    await began.pop().rollback()
    await conn.close()


async def timed(hub: Any, conn: Any, insert: Any, commit: Any, asked: dict[str, Any]) -> None:
    """Time both, transaction by transaction."""
    put, own, ours = hub.evbus.broker.put, [], []
    clock = Clock()
    for number, body in enumerate(bodies(asked, asked["events"])):
        details = json.dumps(body)
        start = perf_counter()
        await insert((f"customer {number}", "orders.placed", None, number, details))
        middle = perf_counter()
        await put("orders.placed", body, within=conn)
        end = perf_counter()
        await commit()
        own.append(middle - start)
        ours.append(end - middle)
    clock.stop(len(ours), ratio=sorted(ours)[len(ours) // 2] / sorted(own)[len(own) // 2])


asyncio.run(main())

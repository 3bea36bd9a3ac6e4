"""Listening for NOTIFY, on a connection of its own, for profiles with `listen: true`.

It replaces the wait between two polls and nothing else: what is missed, the next poll finds. PgBouncer in transaction
mode passes no notifications on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

import psycopg
from psycopg import sql

from evbus_like.postgres import ddl
from evbus_like.postgres.database import Database
from evbus_like.postgres.table import said

log = logging.getLogger("evbus_like.postgres")

RETRY = (0.5, 30.0)  # seconds before the first, and the longest, wait for a new connection
ALIVE = 30.0  # seconds without a notification after which the connection is tried


async def listen(database: Database, wake: Callable[[], object]) -> None:
    """Call a function at each notification, until it is cancelled; the connection is made again as often as needed."""
    wait, logged = RETRY[0], ""
    channel = sql.SQL("LISTEN {}").format(sql.Identifier(ddl.channel_of(database.schema)))
    while True:
        try:
            async with asyncio.timeout(database.timeout):
                conn = await psycopg.AsyncConnection.connect(
                    database.connection, autocommit=True, application_name="evbus_like listen"
                )
            try:
                await conn.execute(channel)
                wait = RETRY[0]
                wake()  # for what was stored before
                while True:
                    async for _ in conn.notifies(timeout=ALIVE):
                        wake()
                    async with asyncio.timeout(database.timeout):
                        await conn.execute("SELECT 1")
            finally:
                with suppress(Exception):
                    await conn.close()
        except (psycopg.Error, OSError, TimeoutError) as error:
            if logged != (logged := said(error)):
                log.warning("%s cannot listen, and polls: %s", database.label, logged)
            await asyncio.sleep(wait)
            wait = min(RETRY[1], 2 * wait)

"""Rates that machines share: a row of the table `evbus_rate` for each, which says until when its rate is used up.

By the database's clock, and in one statement for many events. The row also names the runs that have asked in the last
minute, so that each knows its share should the database not answer.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Any

import psycopg

from evbus_like.engine.errors import StorageError
from evbus_like.engine.shared_rate import AHEAD, Grant
from evbus_like.postgres.database import Database
from evbus_like.postgres.table import Line, said

log = logging.getLogger("evbus_like.postgres")

ANSWER = 1.0  # seconds in which the database must answer
RETRY = (0.2, 5.0)  # seconds before the first, and the longest, wait for a new connection
KNOWN = 60.0  # seconds that a run which has asked counts
# Nothing is lost that must be kept if the server crashes just after: the commit need not wait for its disk.
FAST = "SELECT set_config('synchronous_commit', 'off', true)"
MAKE = "INSERT INTO {rate} (name) VALUES (%s) ON CONFLICT DO NOTHING"
# A value beyond what can have been taken is of a clock that was set back.
TAKE = """WITH old AS (
        SELECT r.name, r.runs, t, least(greatest(r.used, t), t + %s + r.span) AS start
        FROM (SELECT date_part('epoch', clock_timestamp()) AS t) n, {rate} r WHERE r.name = %s FOR UPDATE OF r)
    UPDATE {rate} r SET
        used = o.start + CASE WHEN o.start - o.t <= %s THEN %s ELSE 0 END,
        span = CASE WHEN o.start - o.t <= %s THEN %s ELSE r.span END,
        runs = (SELECT coalesce(jsonb_object_agg(key, value), '{{}}') FROM jsonb_each(o.runs)
                     WHERE value::text::float8 BETWEEN o.t - %s AND o.t + 1) || jsonb_build_object(%s::text, o.t)
    FROM old o WHERE r.name = o.name
    RETURNING o.start - o.t, o.start - o.t <= %s, (SELECT count(*) FROM jsonb_object_keys(r.runs))"""


class SharedRates:
    """The rates of one database, on a connection that is made when one is first asked for."""

    def __init__(self, database: Database, run: str) -> None:
        self.database = database
        self.trouble = ""
        self.runs = 1
        self._line = Line(database)
        self._run = run
        rate = database.table("evbus_rate")
        self._make, self._take = MAKE.format(rate=rate), TAKE.format(rate=rate)
        self._connecting: asyncio.Task[None] | None = None
        self._is_open = self._closed = False

    async def take(self, name: str, seconds: float) -> Grant | None:
        """Take places for so many seconds of a rate; None while the database does not answer."""
        if not self._is_open and not self.trouble:
            await self._connect()
        if not self._is_open:
            return None
        try:
            async with asyncio.timeout(ANSWER):
                found = await self._taken(name, seconds)
        except (psycopg.Error, OSError, TimeoutError, StorageError) as error:
            self._lost(error)
            return None
        self.runs = found.runs
        return found

    async def _taken(self, name: str, seconds: float) -> Grant:
        values = [AHEAD, name, AHEAD, seconds, AHEAD, seconds, KNOWN, self._run, AHEAD]
        async with self._line.transaction() as execute:
            await execute(FAST)
            rows = await execute(self._take, values)
            if not rows:
                await execute(self._make, [name])
                rows = await execute(self._take, values)
        wait, taken, runs = rows[0]
        return Grant(max(0.0, wait), taken, max(1, runs))

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(ANSWER):
                await self._line.open()
                async with self._line.transaction() as execute:
                    await execute(f"SELECT FROM {self.database.table('evbus_rate')} LIMIT 0")
        except (psycopg.Error, OSError, TimeoutError, StorageError) as error:
            self._lost(error)
            return
        if self.trouble:
            log.warning("%s answers again: rates are shared", self.database.label)
        self.trouble, self._is_open = "", True

    def _lost(self, error: BaseException) -> None:
        text = f"{said(error)}; this run keeps to its share of the rates, 1/{self.runs}"
        if not self.trouble:
            log.warning("%s: %s", self.database.label, text)
        self.trouble, self._is_open = text, False
        if not self._closed and (self._connecting is None or self._connecting.done()):
            self._connecting = asyncio.create_task(self._reconnect(), name="evbus_like rates")

    async def _reconnect(self) -> None:
        wait = RETRY[0]
        while not self._is_open:
            await asyncio.sleep(wait)
            wait = min(RETRY[1], 2 * wait)
            await self._connect()

    async def close(self) -> None:
        """Close the connection."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
            with suppress(asyncio.CancelledError):
                await self._connecting
        await self._line.close()

    def status(self) -> dict[str, Any]:
        """Return where rates are shared, by how many runs, and what is wrong, as plain data."""
        return {"database": self.database.label, "runs": self.runs, "trouble": self.trouble}

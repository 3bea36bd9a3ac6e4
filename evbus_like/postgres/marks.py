"""The marks of an inbox as an operator sees them: whether they can be written, and their removal after a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack
from random import random
from typing import Any

import psycopg

from evbus_like.engine.errors import EvbusError
from evbus_like.postgres import ddl
from evbus_like.postgres.connections import Adapter, adapted
from evbus_like.postgres.database import Database
from evbus_like.postgres.inbox import Inbox
from evbus_like.postgres.store import MADE_BY
from evbus_like.postgres.table import said

log = logging.getLogger("evbus_like.postgres")

FIRST_LOOK = 5.0  # seconds that a start waits for a database
REMOVE_EVERY = (
    1.0,
    60.0,
)  # seconds between two removals: the least and the most, and a tenth of the time they are kept
REMOVE_BATCH = 5000
LOOK = """
SELECT current_database(), pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on',
       n.oid IS NOT NULL, has_schema_privilege(n.oid, 'USAGE'), i.oid IS NOT NULL, s.oid IS NOT NULL,
       has_table_privilege(i.oid, 'INSERT') AND has_table_privilege(i.oid, 'SELECT'),
       has_table_privilege(i.oid, 'DELETE'), has_table_privilege(s.oid, 'SELECT')
FROM (SELECT) one
LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = %s
LEFT JOIN pg_catalog.pg_class i ON i.relnamespace = n.oid AND i.relname = 'evbus_inbox'
LEFT JOIN pg_catalog.pg_class s ON s.relnamespace = n.oid AND s.relname = 'evbus_schema'
"""
REMOVE = """DELETE FROM {inbox} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {inbox}
    WHERE handled_at < clock_timestamp() - make_interval(secs => %s) ORDER BY handled_at LIMIT %s))"""
LIBRARIES = ("psycopg", "psycopg_pool", "asyncpg", "sqlalchemy")
REFUSED = ("does not exist", "authentication failed", "no pg_hba.conf entry", "is not permitted to log in")


async def problem(inbox: Inbox) -> str:
    """Return what is wrong with the database of an inbox, or an empty string; one that does not answer is logged.

    Looks with a connection of the profile, which removes marks, and with one of the application if it gives them.
    """
    database = inbox.database
    mine, wrong = await _looked(inbox, of_profile=True)
    if wrong or inbox.is_ours:
        return wrong
    theirs, wrong = await _looked(inbox, of_profile=False)
    if not wrong and mine and theirs and mine != theirs:
        return (
            f"the connections that hub.evbus.handlers.transactions({database.name!r}, ...) gives lead to the database"
            f" {theirs[0]!r}, and {database.label} to {mine[0]!r}" + (" of another server" * (mine[0] == theirs[0]))
        )
    return wrong


async def _looked(inbox: Inbox, of_profile: bool) -> tuple[tuple[str, str] | None, str]:
    """Return the identity of a database, if it answers, and what is wrong with it."""
    database, stack = inbox.database, AsyncExitStack()
    try:
        async with asyncio.timeout(min(FIRST_LOOK, database.timeout)), stack:
            if of_profile:
                conn, adapter = adapted(await connected(database, stack))
            else:
                conn, adapter = await inbox.connection(stack)
            found = await adapter.run(conn, LOOK, [database.schema])
            if text := _missing(database, found[0], of_profile):
                return None, text
            return await _version(database, conn, adapter, found[0][0])
    except Exception as error:
        text = said(error)
        if isinstance(error, EvbusError):
            return None, text
        if not _is_of_a_database(error) or any(each in text for each in REFUSED) or _refuses(error):
            return None, f"{database.label}: {type(error).__name__}: {text}"
        log.warning("%s does not answer yet, events for its handlers wait: %s", database.label, text)
        return None, ""


async def _version(database: Database, conn: Any, adapter: Adapter, name: str) -> tuple[tuple[str, str] | None, str]:
    read = await adapter.run(conn, f"SELECT version, id::text FROM {database.table('evbus_schema')}", [])
    version, made = read[0] if read else (0, "")
    if version != ddl.LATEST:
        return None, f"{database.label}: {ddl.other_version(version)}"
    return (name, made), ""


def _missing(database: Database, found: Sequence[Any], of_profile: bool) -> str:
    name, read_only, schema, usage, inbox, versions, may_mark, may_remove, may_read = found
    text = ""
    whose = "its user" if of_profile else "the user of the application's connections"
    tables = f"{database.table('evbus_inbox')}, SELECT ON {database.table('evbus_schema')}"
    if not schema:
        text = f"database {name!r} has no schema {database.schema!r}; {MADE_BY}"
    elif not usage:
        text = f"{whose} may not use the schema {database.schema!r}: GRANT USAGE ON SCHEMA"
    elif not versions:
        text = f"the tables are not in the schema {database.schema!r} of database {name!r}; {MADE_BY}"
    elif may_read and not inbox:
        text = f"the table evbus_inbox is missing in the schema {database.schema!r} of database {name!r}; {MADE_BY}"
    elif not may_read or not may_mark:
        text = f"{whose} has no rights: GRANT SELECT, INSERT ON {tables}"
    elif of_profile and not may_remove:
        text = f"{whose} has no right to remove marks: GRANT DELETE ON {database.table('evbus_inbox')}"
    elif read_only:
        text = "the server is read-only: connect to the primary"
    return f"{database.label}: {text}" if text else ""


def _is_of_a_database(error: BaseException) -> bool:
    return isinstance(error, (OSError, TimeoutError)) or type(error).__module__.partition(".")[0] in LIBRARIES


def _refuses(error: BaseException) -> bool:
    state = str(getattr(error, "sqlstate", None) or getattr(getattr(error, "orig", None), "sqlstate", None))
    return state[:2] in ("28", "3D")  # invalid authorization, no such database


async def connected(database: Database, stack: AsyncExitStack) -> psycopg.AsyncConnection[Any]:
    """Connect with the profile's own options; the stack closes the connection."""
    conn: psycopg.AsyncConnection[Any] = await psycopg.AsyncConnection.connect(
        database.connection, autocommit=True, prepare_threshold=None, application_name="evbus_like inbox"
    )
    stack.push_async_callback(conn.close)
    return conn


async def remove_old(database: Database) -> None:
    """Remove marks that are older than the profile's inbox_keep, in batches, until this is cancelled."""
    pause, logged = max(REMOVE_EVERY[0], min(REMOVE_EVERY[1], database.inbox_keep / 10)), ""
    while True:
        await asyncio.sleep(pause * (0.5 + random()))  # processes that were started together take turns
        try:
            await remove(database)
            logged = ""
        except (psycopg.Error, OSError, TimeoutError) as error:
            if logged != (logged := said(error)):
                log.warning("%s: old marks of the inbox are not removed: %s", database.label, logged)


async def remove(database: Database) -> int:
    """Remove what is too old, and return how many marks that were; raises the errors of psycopg, and TimeoutError."""
    removed = 0
    async with AsyncExitStack() as stack:
        async with asyncio.timeout(database.timeout):
            conn = await connected(database, stack)
        while True:
            async with asyncio.timeout(database.timeout):
                cursor = await conn.execute(
                    REMOVE.format(inbox=database.table("evbus_inbox")), [database.inbox_keep, REMOVE_BATCH]
                )
            removed += cursor.rowcount
            if cursor.rowcount < REMOVE_BATCH:
                return removed

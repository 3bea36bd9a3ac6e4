"""The inbox in the application's database: a mark for each handled event, written in the handler's own transaction.

`INSERT ... ON CONFLICT DO NOTHING` waits while another transaction holds the same mark: if that commits, the event is a
repeat; if it rolls back, this one has the mark. Works through PgBouncer in transaction mode.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from typing import Any

from evbus_like.engine.errors import HandlerError, StorageError
from evbus_like.engine.receiving.inbox import MarkHeld
from evbus_like.postgres.connections import IDLE, INERROR, Adapter, Asyncpg, PsycopgAsync, SqlAlchemyAsync, adapted
from evbus_like.postgres.database import Database

ROLL_BACK = 1.0  # seconds that a rollback may take; then the connection is left to its pool
MOST_ID = 255  # characters of an id that is kept as it is
ASYNC = (
    "an AsyncConnection of psycopg 3, a connection of asyncpg, or an AsyncSession or AsyncConnection of SQLAlchemy 2"
)
CAUGHT = (
    "a statement in event.transaction failed and the handler caught the error, so the whole transaction is rolled back;"
    " begin a nested transaction around what may fail"
)
ENDED = "the handler ended event.transaction, which is committed for it; leave out the COMMIT or ROLLBACK"
Connect = Callable[[], Any]  # returns an asynchronous context manager of a connection


class Inbox:
    """The inbox of one database; `size` is how many handlers may have a transaction at once.

    `connect` gives the application's own connections; without it there is a pool of ours.
    """

    def __init__(self, database: Database, connect: Connect | None = None) -> None:
        self.database = database
        self.label = database.label
        self.stopping = False
        self.size = 0
        self.is_ours = connect is None
        self._connect = connect
        self._pool: Any = None
        table = database.table("evbus_inbox")
        self.mark = (
            f"INSERT INTO {table} (handler, event_id) VALUES (%s, %s) ON CONFLICT DO NOTHING RETURNING handled_at"
        )
        self.find = f"SELECT handled_at FROM {table} WHERE handler = %s AND event_id = %s"

    async def open(self) -> None:
        """Open the pool, which connects as connections are needed."""
        if self._connect is not None:
            return
        from psycopg_pool import AsyncConnectionPool

        self._pool = AsyncConnectionPool(
            self.database.connection,
            kwargs={
                "autocommit": True,
                "prepare_threshold": None,  # PgBouncer gives each transaction to another server connection
                "application_name": "evbus_like inbox",
                "connect_timeout": max(2, int(self.database.timeout)),
            },
            min_size=0,
            max_size=max(1, self.size),
            timeout=self.database.timeout,
            name=f"evbus_like {self.label}",
            open=False,
        )
        await self._pool.open()
        self._connect = self._pool.connection

    async def close(self) -> None:
        """Close the pool, if it is ours."""
        pool, self._pool = self._pool, None
        if pool is not None:
            self._connect = None
            with suppress(Exception):
                await pool.close(ROLL_BACK)

    async def connection(self, stack: AsyncExitStack) -> tuple[Any, Adapter]:
        """Return a connection outside of a transaction, and its adapter; the stack gives it back."""
        if self._connect is None:
            raise StorageError(f"{self.label} is closed")
        conn, adapter = adapted(await stack.enter_async_context(self._connect()))
        if problem := unusable(conn, adapter):
            raise HandlerError(f"the connection for {self.label} ({_kind(conn)}) {problem}")
        return conn, adapter

    async def begin(self, listener: str, event_id: str) -> Transaction | None:
        """Begin a transaction with the mark of an event; None if it is there already. Raises MarkHeld, and any error.

        An event without an id gets no mark.
        """
        stack, timeout = AsyncExitStack(), self.database.timeout
        try:
            async with asyncio.timeout(timeout):
                conn, adapter = await self.connection(stack)
                await stack.enter_async_context(_begun(conn, adapter))
                if problem := adapter.problem(conn):
                    raise HandlerError(f"the connection for {self.label} ({_kind(conn)}) {problem}")
            key = (listener, key_of(event_id)) if event_id else None
            if key is not None and not await self._marked(conn, adapter, key):
                await stack.aclose()
                return None
        except BaseException as error:
            await _leave(stack, error)
            raise
        return Transaction(self, stack, conn, adapter, key)

    async def _marked(self, conn: Any, adapter: Adapter, key: tuple[str, str]) -> bool:
        try:
            async with asyncio.timeout(self.database.timeout):
                return bool(await adapter.run(conn, self.mark, key))
        except TimeoutError:
            raise MarkHeld from None


class Transaction:
    """A transaction with a mark, on a connection that is given back at its end."""

    def __init__(
        self, inbox: Inbox, stack: AsyncExitStack, conn: Any, adapter: Adapter, key: tuple[str, str] | None
    ) -> None:
        self.connection = conn
        self._inbox = inbox
        self._stack = stack
        self._adapter = adapter
        self._key = key

    async def commit(self) -> None:
        """Commit; raises HandlerError if the handler has broken or ended the transaction, and the driver's errors."""
        timeout = self._inbox.database.timeout
        try:
            async with asyncio.timeout(timeout):
                await self._check()
                await self._stack.aclose()
        except TimeoutError as error:
            await _leave(self._stack, error)
            raise StorageError(
                f"{self._inbox.label} did not confirm the commit within {timeout:g} s; if it is committed, the next"
                " attempt finds the mark"
            ) from None
        except BaseException as error:
            await _leave(self._stack, error)
            raise

    async def roll_back(self, error: BaseException) -> None:
        """Roll back, and give the connection back."""
        await _leave(self._stack, error)

    async def _check(self) -> None:
        """Raise if a COMMIT would not commit the mark."""
        if isinstance(self._adapter, PsycopgAsync):  # libpq knows, without a question to the server
            status = self.connection.pgconn.transaction_status
            if status in (INERROR, IDLE):
                raise HandlerError(CAUGHT if status == INERROR else ENDED)
            return
        sql, values = (self._inbox.find, self._key) if self._key is not None else ("SELECT 1", ())
        try:
            found = await self._adapter.run(self.connection, sql, values)
        except Exception as error:
            raise HandlerError(CAUGHT) from error
        if not found:
            raise HandlerError(ENDED)


def unusable(conn: Any, adapter: Adapter) -> str:
    """Return why a transaction cannot be begun on a connection, or an empty string."""
    if isinstance(adapter, PsycopgAsync):
        began = conn.pgconn.transaction_status != IDLE
    elif isinstance(adapter, Asyncpg):
        began = conn.is_in_transaction()
    elif isinstance(adapter, SqlAlchemyAsync):
        began = conn.in_transaction()
    else:
        return f"is a blocking one; it must be {ASYNC}"
    return "is in a transaction already, which the inbox would not commit; give it outside of one" if began else ""


def _begun(conn: Any, adapter: Adapter) -> Any:
    return conn.begin() if isinstance(adapter, SqlAlchemyAsync) else conn.transaction()


async def _leave(stack: AsyncExitStack, error: BaseException) -> None:
    """Roll back and give the connection back; whatever fails then is about a connection that its pool throws away."""
    with suppress(Exception):
        async with asyncio.timeout(ROLL_BACK):
            await stack.__aexit__(type(error), error, error.__traceback__)


def key_of(event_id: str) -> str:
    """Return an id as the table has it: one that is long, or that PostgreSQL cannot hold, by its hash."""
    if len(event_id) <= MOST_ID and "\0" not in event_id:
        with suppress(UnicodeEncodeError):
            event_id.encode()
            return event_id
    return "sha256:" + hashlib.sha256(event_id.encode(errors="surrogatepass")).hexdigest()


def _kind(conn: Any) -> str:
    return f"{type(conn).__module__}.{type(conn).__qualname__}"

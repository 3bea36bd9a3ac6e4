"""The application's own connections: which library one is of, whether it can be written on, and how.

Known are psycopg 3 (blocking and asynchronous), asyncpg, and the sessions and connections of SQLAlchemy 2 (both kinds)
on one of these drivers; Django's connection is used through the psycopg connection in it. No library is imported here:
a connection of it can only come from an application that has imported it.

Statements are written with psycopg's `%s`; asyncpg gets them with `$1`. Nothing here commits, rolls back or closes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from evbus_like.engine.errors import BadEvent

Rows = list[tuple[Any, ...]]
KINDS = "a connection of psycopg 3 or asyncpg, a session or connection of SQLAlchemy 2 on these, or Django's connection"
OUTSIDE = "is outside of a transaction, so the event would be stored whatever becomes of your own statements. Begin one"
FAILED = "is in a failed transaction, which can only be rolled back; put the event in the next one"
CLOSED = "is closed"
IDLE, INERROR = 0, 3  # libpq's PGTransactionStatusType


class Adapter:
    """One kind of connection. `waits` is whether its statements are awaited."""

    waits = False

    def problem(self, conn: Any) -> str:
        """Return why nothing can be stored with the transaction of a connection, or an empty text."""
        raise NotImplementedError

    def anchor(self, conn: Any) -> Any:
        """Return what stays the same while the connection leads to the same database."""
        return conn

    def run(self, conn: Any, sql: str, values: Sequence[Any]) -> Any:
        """Execute a statement and return its rows, or, of a connection that `waits`, an awaitable of them."""
        raise NotImplementedError

    def after_commit(self, conn: Any, wake: Callable[[], object]) -> bool:
        """Have a function called after the commit, and return whether the library can do that."""
        return False


class Psycopg(Adapter):
    """psycopg 3, blocking."""

    def problem(self, conn: Any) -> str:
        """See `Adapter`."""
        if conn.closed or conn.broken:
            return CLOSED
        status = conn.pgconn.transaction_status
        if status == INERROR:
            return FAILED
        if status == IDLE and conn.autocommit:
            return f"{OUTSIDE}: `with conn.transaction():`, or connect without autocommit"
        return ""

    def run(self, conn: Any, sql: str, values: Sequence[Any]) -> Rows:
        """See `Adapter`."""
        # A cursor of its own class and row factory: the application may have set others.
        with _psycopg().Cursor(conn, row_factory=_psycopg().rows.tuple_row) as cursor:
            cursor.execute(sql, values)
            return cursor.fetchall() if cursor.description else []


class PsycopgAsync(Psycopg):
    """psycopg 3, asynchronous."""

    waits = True

    async def run(self, conn: Any, sql: str, values: Sequence[Any]) -> Rows:  # type: ignore[override]
        """See `Adapter`."""
        async with _psycopg().AsyncCursor(conn, row_factory=_psycopg().rows.tuple_row) as cursor:
            await cursor.execute(sql, values)
            return await cursor.fetchall() if cursor.description else []


class Asyncpg(Adapter):
    """asyncpg, its connections and those of its pool."""

    waits = True

    def anchor(self, conn: Any) -> Any:
        """See `Adapter`."""
        return getattr(conn, "_con", conn)  # a pool's proxy is another one each time

    def problem(self, conn: Any) -> str:
        """See `Adapter`."""
        try:
            if conn.is_closed():
                return CLOSED
            return "" if conn.is_in_transaction() else f"{OUTSIDE}: `async with conn.transaction():`"
        except sys.modules["asyncpg"].InterfaceError:  # it was given back to its pool
            return CLOSED

    async def run(self, conn: Any, sql: str, values: Sequence[Any]) -> Rows:
        """See `Adapter`."""
        return [tuple(row) for row in await conn.fetch(numbered(sql), *values)]


class SqlAlchemy(Adapter):
    """SQLAlchemy 2, blocking: a connection or a session."""

    def problem(self, conn: Any) -> str:
        """See `Adapter`."""
        sync = getattr(conn, "sync_session", None) or getattr(conn, "sync_connection", None) or conn
        bind = sync.get_bind() if hasattr(sync, "get_bind") else sync
        if bind.dialect.name != "postgresql" or bind.dialect.driver not in ("psycopg", "psycopg_async", "asyncpg"):
            return f"is one of {bind.dialect.name}+{bind.dialect.driver}; the outbox needs {KINDS}"
        if hasattr(sync, "get_bind"):
            if not sync.is_active:
                return FAILED
            return "" if not _autocommits(bind) else f"{OUTSIDE}: the engine's isolation level is AUTOCOMMIT"
        if sync.closed or sync.invalidated:
            return CLOSED
        if _autocommits(sync):
            return f"{OUTSIDE}: its isolation level is AUTOCOMMIT"
        transaction = sync.get_transaction()
        return FAILED if transaction is not None and not transaction.is_active else ""

    def anchor(self, conn: Any) -> Any:
        """See `Adapter`."""
        sync = getattr(conn, "sync_session", None) or getattr(conn, "sync_connection", None) or conn
        bind = sync.get_bind() if hasattr(sync, "get_bind") else sync
        return bind.engine

    def run(self, conn: Any, sql: str, values: Sequence[Any]) -> Any:
        """See `Adapter`."""
        return _executed(conn.connection() if hasattr(conn, "get_bind") else conn, sql, values)

    def after_commit(self, conn: Any, wake: Callable[[], object]) -> bool:
        """See `Adapter`."""
        session = getattr(conn, "sync_session", conn)
        if not hasattr(session, "get_bind"):
            return False
        event = sys.modules["sqlalchemy.event"]
        event.listen(session, "after_commit", lambda _session: wake(), once=True)
        return True


class SqlAlchemyAsync(SqlAlchemy):
    """SQLAlchemy 2, asynchronous."""

    waits = True

    async def run(self, conn: Any, sql: str, values: Sequence[Any]) -> Rows:
        """See `Adapter`."""
        made = await conn.connection() if hasattr(conn, "sync_session") else conn
        rows: Rows = await made.run_sync(_executed, sql, values)
        return rows


def _executed(conn: Any, sql: str, values: Sequence[Any]) -> Rows:
    if conn.dialect.driver == "asyncpg":
        sql = numbered(sql)
    result = conn.exec_driver_sql(sql, tuple(values))
    return [tuple(row) for row in result] if result.returns_rows else []


def _autocommits(bind: Any) -> bool:
    options = {**getattr(bind, "_execution_options", {})}
    level = options.get("isolation_level") or getattr(bind.dialect, "_on_connect_isolation_level", None)
    return str(level or "").upper() == "AUTOCOMMIT"


def _psycopg() -> Any:
    return sys.modules["psycopg"]


@lru_cache(maxsize=100)
def numbered(sql: str) -> str:
    """Return a statement with `$1` for the first `%s`, and so on."""
    first, *others = sql.split("%s")
    return first + "".join(f"${number}{text}" for number, text in enumerate(others, 1))


# By the place of the class: (module, name), the adapter.
ADAPTERS: tuple[tuple[str, str, Adapter], ...] = (
    ("psycopg", "Connection", Psycopg()),
    ("psycopg", "AsyncConnection", PsycopgAsync()),
    ("asyncpg", "Connection", Asyncpg()),
    ("asyncpg.pool", "PoolConnectionProxy", Asyncpg()),
    ("sqlalchemy.engine", "Connection", SqlAlchemy()),
    ("sqlalchemy.orm", "Session", SqlAlchemy()),
    ("sqlalchemy.orm", "scoped_session", SqlAlchemy()),
    ("sqlalchemy.ext.asyncio", "AsyncConnection", SqlAlchemyAsync()),
    ("sqlalchemy.ext.asyncio", "AsyncSession", SqlAlchemyAsync()),
    ("sqlalchemy.ext.asyncio", "async_scoped_session", SqlAlchemyAsync()),
)
_known: dict[type, Adapter] = {}


def adapted(conn: Any) -> tuple[Any, Adapter]:
    """Return a connection, as what it is used through, and its adapter; raises BadEvent for anything else."""
    adapter = _known.get(type(conn))
    if adapter is not None:
        return conn, adapter
    for module, name, adapter in ADAPTERS:
        kind = getattr(sys.modules.get(module), name, None)
        if kind is not None and isinstance(conn, kind):
            _known[type(conn)] = adapter
            return conn, adapter
    if getattr(conn, "vendor", "") == "postgresql" and hasattr(conn, "ensure_connection"):  # Django
        conn.ensure_connection()
        return adapted(conn.connection)
    kind = type(conn)
    hint = ""
    if kind.__name__ in ("Pool", "ConnectionPool", "AsyncConnectionPool", "Engine", "AsyncEngine", "sessionmaker"):
        hint = "; take a connection from it, and begin a transaction"
    elif kind.__module__.startswith("psycopg2"):
        hint = "; psycopg2 is not supported, psycopg 3 is"
    raise BadEvent(f"within must be {KINDS}, not {kind.__module__}.{kind.__qualname__}{hint}")

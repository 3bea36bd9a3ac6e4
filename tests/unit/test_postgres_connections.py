"""postgres/connections.py: which connections a put takes within a transaction, and why not the others."""

from types import SimpleNamespace

import asyncpg
import psycopg
import psycopg_pool
import pytest
import sqlalchemy
from psycopg.pq import TransactionStatus
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from evbus_like.engine.errors import BadEvent
from evbus_like.postgres import connections
from evbus_like.postgres.connections import Adapter, Psycopg, PsycopgAsync, SqlAlchemy, SqlAlchemyAsync, adapted

URL = "postgresql+psycopg://user:secret@127.0.0.1:1/shop"  # nothing here connects


@pytest.fixture(autouse=True)
def unknown(monkeypatch):
    """No kind of connection has been seen before."""
    monkeypatch.setattr(connections, "_known", {})


def of_psycopg(kind, status, autocommit=False, closed=False):
    """A connection of psycopg in this state, which leads nowhere."""

    class Connection(kind):
        def __init__(self):
            self.pgconn = SimpleNamespace(transaction_status=status)

        def __del__(self): ...

    for name, value in {"autocommit": autocommit, "closed": closed, "broken": closed}.items():
        setattr(Connection, name, value)
    return Connection()


def of_asyncpg(closed, begun):
    """A connection of asyncpg in this state, which leads nowhere."""

    class Connection(asyncpg.Connection):
        def __init__(self): ...

        def __del__(self): ...

        def is_closed(self):
            return closed

        def is_in_transaction(self):
            return begun

    return Connection()


def problem(conn):
    made, adapter = adapted(conn)
    return adapter.problem(made)


@pytest.mark.parametrize(
    ("kind", "adapter"), [(psycopg.Connection, Psycopg), (psycopg.AsyncConnection, PsycopgAsync)], ids=["", "async"]
)
@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"status": TransactionStatus.INTRANS}, ""),
        ({"status": TransactionStatus.IDLE}, ""),  # its first statement begins a transaction
        ({"status": TransactionStatus.IDLE, "autocommit": True}, "outside of a transaction"),
        ({"status": TransactionStatus.INTRANS, "autocommit": True}, ""),
        ({"status": TransactionStatus.INERROR}, "in a failed transaction, which can only be rolled back"),
        ({"status": TransactionStatus.UNKNOWN, "closed": True}, "is closed"),
    ],
    ids=["begun", "idle", "autocommit", "begun in autocommit", "failed", "closed"],
)
def test_a_connection_of_psycopg_needs_a_transaction_that_can_be_committed(kind, adapter, facts, why):
    conn = of_psycopg(kind, **facts)
    assert isinstance(adapted(conn)[1], adapter)
    assert adapted(conn)[1].waits is (adapter is PsycopgAsync)
    assert (why in problem(conn)) if why else problem(conn) == ""


@pytest.mark.parametrize(
    ("closed", "begun", "why"),
    [
        (False, True, ""),
        (False, False, "Begin one: `async with conn.transaction():`"),
        (True, False, "is closed"),
    ],
)
def test_a_connection_of_asyncpg_needs_a_transaction(closed, begun, why):
    conn = of_asyncpg(closed, begun)
    assert adapted(conn)[1].waits
    assert (why in problem(conn)) if why else problem(conn) == ""


def test_a_connection_of_asyncpg_that_its_pool_has_taken_back_is_closed():
    proxy = asyncpg.pool.PoolConnectionProxy.__new__(asyncpg.pool.PoolConnectionProxy)
    proxy._con = None
    assert problem(proxy) == "is closed"


SESSIONS = {
    "session": (lambda **o: Session(sqlalchemy.create_engine(URL, **o)), SqlAlchemy),
    "scoped session": (lambda **o: scoped_session(sessionmaker(sqlalchemy.create_engine(URL, **o))), SqlAlchemy),
    "asynchronous session": (lambda **o: AsyncSession(create_async_engine(URL, **o)), SqlAlchemyAsync),
    "asynchronous session on asyncpg": (
        lambda **o: AsyncSession(create_async_engine(URL.replace("+psycopg", "+asyncpg"), **o)),
        SqlAlchemyAsync,
    ),
}


@pytest.mark.parametrize(("make", "adapter"), SESSIONS.values(), ids=SESSIONS)
def test_a_session_of_sqlalchemy_is_taken_unless_it_commits_each_statement(make, adapter):
    session = make()
    found, how = adapted(session)
    assert found is session
    assert type(how) is adapter
    assert how.problem(session) == ""
    assert "the engine's isolation level is AUTOCOMMIT" in problem(make(isolation_level="AUTOCOMMIT"))


def test_sessions_of_one_engine_lead_to_one_database():
    engine = sqlalchemy.create_engine(URL)
    how = SqlAlchemy()
    assert how.anchor(Session(engine)) is how.anchor(Session(engine)) is engine


@pytest.fixture
def sqlite():
    """An engine of SQLite; Python 3.13 warns of a connection that nobody closes."""
    engine = sqlalchemy.create_engine("sqlite://")
    yield engine
    engine.dispose()


def test_a_session_on_another_database_is_refused_with_what_it_is(sqlite):
    with Session(sqlite) as session:
        assert problem(session).startswith("is one of sqlite+pysqlite; the outbox needs a connection of psycopg 3")
    with sqlite.connect() as conn:
        assert "sqlite+pysqlite" in problem(conn)


@pytest.fixture
def postgresql_in_name(sqlite):
    """An engine of SQLite that says that it is PostgreSQL, for what SQLAlchemy itself does."""
    sqlite.dialect.name, sqlite.dialect.driver = "postgresql", "psycopg"
    return sqlite


def test_a_connection_of_sqlalchemy_that_is_closed_failed_or_commits_each_statement_is_refused(postgresql_in_name):
    with postgresql_in_name.connect() as conn:
        assert problem(conn) == ""
        outer = conn.begin()
        assert problem(conn) == ""
        outer.rollback()
        autocommits = conn.execution_options(isolation_level="AUTOCOMMIT")
        assert "its isolation level is AUTOCOMMIT" in problem(autocommits)
    assert problem(conn) == "is closed"


def test_a_session_says_its_next_commit_once(postgresql_in_name):
    woken = []
    with Session(postgresql_in_name) as session:
        assert SqlAlchemy().after_commit(session, lambda: woken.append(1))
        session.execute(sqlalchemy.text("select 1"))
        assert woken == []
        session.commit()
        session.execute(sqlalchemy.text("select 1"))
        session.commit()
    assert woken == [1]
    with postgresql_in_name.connect() as conn:
        assert not SqlAlchemy().after_commit(conn, lambda: woken.append(1))
    assert not Adapter().after_commit(object(), lambda: None)


def test_a_statement_is_run_on_the_session_s_own_connection_and_its_rows_are_tuples(postgresql_in_name):
    with Session(postgresql_in_name) as session:
        assert SqlAlchemy().run(session, "select 1, 'a' union select ?, ?", (2, "b")) == [(1, "a"), (2, "b")]
        assert SqlAlchemy().run(session, "create table t (n)", ()) == []


def test_django_is_used_through_the_connection_of_psycopg_in_it():
    inner = of_psycopg(psycopg.Connection, TransactionStatus.INTRANS)
    asked = []
    django = SimpleNamespace(vendor="postgresql", ensure_connection=lambda: asked.append(1), connection=inner)
    conn, adapter = adapted(django)
    assert conn is inner
    assert isinstance(adapter, Psycopg)
    assert asked == [1]


class Elsewhere:
    """What is no connection."""


Elsewhere.__module__ = "psycopg2.extensions"
WRONG = {
    "pool": (lambda: psycopg_pool.ConnectionPool.__new__(psycopg_pool.ConnectionPool), "take a connection from it"),
    "engine": (lambda: sqlalchemy.create_engine(URL), "take a connection from it, and begin a transaction"),
    "psycopg2": (Elsewhere, "psycopg2 is not supported, psycopg 3 is"),
    "text": (lambda: "postgresql://shop", "not builtins.str"),
}


@pytest.mark.parametrize(("make", "why"), WRONG.values(), ids=WRONG)
def test_what_is_no_such_connection_is_named_and_its_password_is_not(make, why):
    with pytest.raises(BadEvent, match="within must be a connection of psycopg 3 or asyncpg") as found:
        adapted(make())
    assert why in str(found.value)
    assert "secret" not in str(found.value)


@pytest.mark.parametrize(
    ("sql", "made"),
    [("SELECT 1", "SELECT 1"), ("VALUES (%s, %s::text)", "VALUES ($1, $2::text)"), ("%s", "$1")],
)
def test_the_places_of_values_are_numbered_for_asyncpg(sql, made):
    assert connections.numbered(sql) == made

"""Events that are put within the application's own transaction, on a real PostgreSQL."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import psycopg
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from evbus_like.errors import BadEvent, EventTooLarge, LifecycleError, ProfileError, SerializeError, StorageError
from evbus_like.postgres import ddl
from tests.brokers.pgbouncer import PgBouncer
from tests.brokers.postgres import PostgreSQL

Started = Callable[..., Awaitable[Any]]
ALL = {"routing_key": "all"}  # one queue for everything
ORDERS = "create table orders (id int primary key)"


@pytest.fixture
def shop(postgres: PostgreSQL) -> str:
    """A database with the tables and one of the application's own."""
    name = postgres.database()
    postgres.sql(ddl.statements() + ORDERS, name)
    return name


@pytest.fixture
def url(postgres: PostgreSQL, shop: str) -> str:
    return postgres.url(shop)


def contexts(url: str, **options: Any) -> dict[str, Any]:
    return {"internal": {"default": ALL}, "postgres": {"shop": {"connection": url, **options}}}


@asynccontextmanager
async def psycopg_async(url: str) -> AsyncIterator[tuple[Any, Any]]:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as conn, conn.transaction():
        yield conn, conn.execute


@asynccontextmanager
async def psycopg_blocking(url: str) -> AsyncIterator[tuple[Any, Any]]:
    with psycopg.connect(url) as conn:

        async def execute(sql: str) -> None:
            conn.execute(sql)

        yield conn, execute


@asynccontextmanager
async def asyncpg_pool(url: str) -> AsyncIterator[tuple[Any, Any]]:
    async with (
        asyncpg.create_pool(url, min_size=1, max_size=1) as pool,
        pool.acquire() as conn,
        conn.transaction(),
    ):
        yield conn, conn.execute


def sqlalchemy(driver: str, kind: str) -> Any:
    @asynccontextmanager
    async def opened(url: str) -> AsyncIterator[tuple[Any, Any]]:
        engine = create_async_engine(url.replace("postgresql", f"postgresql+{driver}", 1))
        try:
            made = AsyncSession(engine) if kind == "session" else engine.connect()
            async with made as conn, conn.begin():
                yield conn, lambda sql: conn.execute(text(sql))
        finally:
            await engine.dispose()

    return opened


def sqlalchemy_blocking(kind: str) -> Any:
    @asynccontextmanager
    async def opened(url: str) -> AsyncIterator[tuple[Any, Any]]:
        engine = create_engine(url.replace("postgresql", "postgresql+psycopg", 1))
        try:
            with Session(engine) if kind == "session" else engine.connect() as conn, conn.begin():

                async def execute(sql: str) -> None:
                    conn.execute(text(sql))

                yield conn, execute
        finally:
            engine.dispose()

    return opened


KINDS = {
    "psycopg": psycopg_async,
    "psycopg, blocking": psycopg_blocking,
    "asyncpg": asyncpg_pool,
    "a session of SQLAlchemy on psycopg": sqlalchemy("psycopg", "session"),
    "a session of SQLAlchemy on asyncpg": sqlalchemy("asyncpg", "session"),
    "a connection of SQLAlchemy on psycopg": sqlalchemy("psycopg", "connection"),
    "a connection of SQLAlchemy on asyncpg": sqlalchemy("asyncpg", "connection"),
    "a blocking session of SQLAlchemy": sqlalchemy_blocking("session"),
    "a blocking connection of SQLAlchemy": sqlalchemy_blocking("connection"),
}


class Rollback(Exception):
    """Ends a transaction."""


async def received(hub: Any, count: int) -> list[Any]:
    """The next events of the memory."""
    mailbox = hub.ingress.internal.mailbox("all")
    async with asyncio.timeout(20):
        return [await mailbox.get_event() for _ in range(count)]


async def stays(postgres: PostgreSQL, shop: str, wanted: str) -> None:
    """Wait until the table and the counts are these: waiting|delivered."""
    sql = "select count(*), (select sum(delivered) from evbus_part) from evbus_outbox"
    async with asyncio.timeout(20):
        while postgres.sql(sql, shop) != f"{wanted}\n":  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("kind", KINDS)
async def test_an_event_is_delivered_after_the_commit_and_after_a_rollback_never(
    hub: Any, start: Started, postgres: PostgreSQL, shop: str, url: str, kind: str
) -> None:
    await start(contexts(url))
    put = hub.evbus.broker.put
    with pytest.raises(Rollback):  # noqa: PT012 - the transaction ends by it
        async with KINDS[kind](url) as (conn, execute):
            await execute("insert into orders values (1)")
            await put("order.placed", {"id": 1}, within=conn)
            raise Rollback
    async with KINDS[kind](url) as (conn, execute):
        await execute("insert into orders values (2)")
        receipt = await put("order.placed", {"id": 2}, within=conn, headers={"x": b"\0\xff"}, key=b"\xff")
        await asyncio.sleep(0.3)
        assert not hub.ingress.internal.mailbox("all").items, "it was delivered before the commit"
    event = (await received(hub, 1))[0]
    assert (event.id, event.body, event.key) == (receipt.id, b'{"id":2}', b"\xff")
    assert event.headers["x"] == b"\0\xff"
    assert receipt.stored
    assert receipt.destinations == ("internal:default",)
    await asyncio.sleep(0.3)
    assert not hub.ingress.internal.mailbox("all").items
    assert postgres.sql("select id from orders", shop) == "2\n"
    await stays(postgres, shop, "0|1")


async def test_blocking_code_puts_without_waiting(hub: Any, start: Started, url: str) -> None:
    await start(contexts(url))

    def work() -> str:
        with psycopg.connect(url) as conn:
            made: str = hub.evbus.broker.dispatch_nowait("orders", "placed", {"id": 1}, within=conn)
        return made

    event_id = await asyncio.to_thread(work)
    event = (await received(hub, 1))[0]
    assert (event.id, event.headers) == (event_id, {"evbus-service": "orders"})


async def test_asyncpg_may_have_a_codec_for_json(hub: Any, start: Started, url: str) -> None:
    await start(contexts(url))
    conn = await asyncpg.connect(url)
    for name in ("json", "jsonb"):
        await conn.set_type_codec(name, schema="pg_catalog", encoder=json.dumps, decoder=json.loads)
    async with conn.transaction():
        await hub.evbus.broker.put("x", 1, headers={"a": "b"}, within=conn)
    await conn.close()
    assert (await received(hub, 1))[0].headers == {"a": "b"}


DJANGO = """
import asyncio, sys
import django
from django.conf import settings
from evbus_like.errors import BadEvent
from evbus_like.testing import new_hub

url = sys.argv[1] if len(sys.argv) > 1 else URL
host, _, name = url.partition("@")[2].partition("/")
database = {"ENGINE": "django.db.backends.postgresql", "NAME": name, "USER": "postgres",
            "HOST": host.partition(":")[0], "PORT": host.partition(":")[2]}
settings.configure(DATABASES={"default": database})
django.setup()
from django.db import connection, transaction

hub = new_hub()
profiles = {"internal": {"default": {"routing_key": "all"}}, "postgres": {"shop": {"connection": url}}}
with hub.evbus.init.background(profiles) as bus:
    put = hub.evbus.broker.put_nowait
    try:
        put("x", 0, within=connection)
    except BadEvent as error:
        print(error)
    try:
        with transaction.atomic():
            put("x", 1, within=connection)
            raise KeyError
    except KeyError:
        pass
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("insert into orders values (2)")
        put("x", 2, within=connection)
    relay = hub.evbus.RUNTIME.databases._relays["shop"]
    while not relay.delivered:
        pass
connection.close()
print([event.body for event in hub.ingress.internal.mailbox("all").items])
"""


def test_django_s_connection_is_used_through_its_psycopg_connection(url: str, run_python: Callable[..., str]) -> None:
    out = run_python(f"URL = {url!r}\n{DJANGO}")
    assert "is outside of a transaction" in out
    assert "[b'2']" in out


async def test_one_put_is_one_statement(hub: Any, start: Started, postgres: PostgreSQL, url: str, shop: str) -> None:
    await start(contexts(url, relay=False))
    async with await psycopg.AsyncConnection.connect(url) as conn:
        await hub.evbus.broker.put("a", 1, within=conn)
        ran: list[str] = []
        execute = psycopg.AsyncCursor.execute

        async def noted(self: Any, sql: str, *args: Any) -> Any:
            ran.append(sql)
            return await execute(self, sql, *args)

        psycopg.AsyncCursor.execute = noted  # type: ignore[assignment, method-assign]
        try:
            await hub.evbus.broker.put("a", 2, within=conn)
        finally:
            psycopg.AsyncCursor.execute = execute  # type: ignore[method-assign]
    assert [sql.split()[0] for sql in ran] == ["INSERT"]
    assert postgres.sql("select count(*) from evbus_outbox", shop) == "2\n"


async def test_each_destination_gets_the_body_in_its_own_format(hub: Any, start: Started, url: str) -> None:
    both = {"a": {"routing_key": "as-json"}, "a*": {"routing_key": "as-msgpack", "serializer": "msgpack"}}
    await start({**contexts(url), "internal": both})
    with psycopg.connect(url) as conn:
        hub.evbus.broker.put_nowait("x", {"n": 1}, profile="a", within=conn)
    async with asyncio.timeout(20):
        bodies = [(await hub.ingress.internal.mailbox(f"as-{name}").get_event()).body for name in ("json", "msgpack")]
    assert bodies == [b'{"n":1}', b"\x81\xa1n\x01"]


async def test_events_of_no_profile_wait_and_stop_no_others(
    hub: Any, start: Started, postgres: PostgreSQL, url: str, shop: str, caplog: pytest.LogCaptureFixture
) -> None:
    await start(contexts(url))
    with psycopg.connect(url) as conn:
        hub.evbus.broker.put_nowait("x", 1, profile="nobody", within=conn)
        hub.evbus.broker.put_nowait("x", 2, within=conn)
    assert [event.body for event in await received(hub, 1)] == [b"2"]
    assert "'nobody' stay in the table: no profile matches it" in caplog.text
    await stays(postgres, shop, "1|1")
    assert postgres.sql("select profile from evbus_outbox", shop) == "nobody\n"
    with_nobody = {**contexts(url), "internal": {"default": ALL, "nobody": ALL}}
    await hub.evbus.init.reload(with_nobody)
    assert [event.body for event in await received(hub, 1)] == [b"1"]
    await stays(postgres, shop, "0|2")


async def test_through_pgbouncer_in_transaction_mode(hub: Any, start: Started, postgres: PostgreSQL, shop: str) -> None:
    bouncer = PgBouncer(postgres, size=2)
    try:
        bouncer.start()
        url = bouncer.url(shop)
        await start(contexts(url))

        async def work(first: int) -> None:
            async with await psycopg.AsyncConnection.connect(url, prepare_threshold=None) as conn:
                for number in range(first, first + 50):
                    await hub.evbus.broker.put("x", number, within=conn)
                    await conn.commit()

        await asyncio.gather(*(work(100 * each) for each in range(6)))
        bodies = sorted(int(event.body) for event in await received(hub, 300))
        assert bodies == [100 * each + number for each in range(6) for number in range(50)]
        await hub.evbus.init.stop(5)
    finally:
        bouncer.close()


# ---- what is wrong is said before anything is written


async def refused(hub: Any, within: Any, error: type[Exception], match: str, **put: Any) -> None:
    with pytest.raises(error, match=match):
        await hub.evbus.broker.put(**{"routing_key": "x", "body": 1, "within": within, **put})


async def test_a_connection_that_cannot_be_used_is_refused(
    hub: Any, start: Started, postgres: PostgreSQL, url: str, shop: str
) -> None:
    await start(contexts(url, relay=False))
    conn = await psycopg.AsyncConnection.connect(url, autocommit=True)
    await refused(hub, conn, BadEvent, "outside of a transaction")
    async with conn.transaction(force_rollback=True):
        with pytest.raises(psycopg.Error):
            await conn.execute("select 1/0")
        await refused(hub, conn, BadEvent, "in a failed transaction")
    await conn.close()
    await refused(hub, conn, BadEvent, "is closed")
    raw = await asyncpg.connect(url)
    await refused(hub, raw, BadEvent, "outside of a transaction")
    transaction = raw.transaction()
    await transaction.start()
    with pytest.raises(asyncpg.PostgresError):
        await raw.execute("select 1/0")
    await refused(hub, raw, BadEvent, "in a failed transaction")
    await transaction.rollback()
    await raw.close()
    await refused(hub, raw, BadEvent, "is closed")
    engine = create_async_engine(url.replace("postgresql", "postgresql+psycopg", 1), isolation_level="AUTOCOMMIT")
    async with engine.connect() as autocommit:
        await refused(hub, autocommit, BadEvent, "AUTOCOMMIT")
    async with AsyncSession(engine) as session:
        await refused(hub, session, BadEvent, "AUTOCOMMIT")
    await refused(hub, engine, BadEvent, "AsyncEngine; take a connection from it")
    await engine.dispose()
    await refused(hub, "postgresql://", BadEvent, r"not builtins\.str")
    lite = create_engine("sqlite://")
    with lite.connect() as sqlite:
        await refused(hub, sqlite, BadEvent, r"sqlite\+pysqlite")
    lite.dispose()
    async with await psycopg.AsyncConnection.connect(url) as waiting:
        with pytest.raises(BadEvent, match="await put"):
            hub.evbus.broker.put_nowait("x", 1, within=waiting)
    assert postgres.sql("select count(*) from evbus_outbox", shop) == "0\n"


async def test_another_database_than_that_of_the_relay_is_refused(
    hub: Any, start: Started, postgres: PostgreSQL, url: str
) -> None:
    other = postgres.database()
    postgres.sql(ddl.statements(), other)
    await start(contexts(url, relay=False))
    async with await psycopg.AsyncConnection.connect(postgres.url(other)) as conn:
        await refused(hub, conn, StorageError, f"another database.*leads to '{other}'")
        assert (await (await conn.execute("select 1")).fetchone()) == (1,), "the transaction was spoiled"


async def test_tables_that_cannot_be_used_are_named(hub: Any, start: Started, postgres: PostgreSQL) -> None:
    name = postgres.database()
    url = postgres.url(name)
    await start(contexts(url, relay=False))
    async with await psycopg.AsyncConnection.connect(url) as conn:
        await refused(hub, conn, StorageError, "not in the schema 'public'.*evbus db schema")
        await conn.rollback()
        postgres.sql(ddl.statements() + "update evbus_schema set version = 99", name)
        await refused(hub, conn, StorageError, "version 99")
        await conn.rollback()
        postgres.sql("update evbus_schema set version = 0", name)
        await refused(hub, conn, StorageError, "version 0.*evbus db schema --after 0")
        await conn.rollback()
        postgres.sql(f"update evbus_schema set version = {ddl.LATEST}", name)
        await conn.execute("set transaction read only")
        await refused(hub, conn, StorageError, "read-only")
        await conn.rollback()
        await hub.evbus.broker.put("x", 1, within=conn)
    postgres.sql("create role clerk login", name)
    try:
        async with await psycopg.AsyncConnection.connect(postgres.url(name, "clerk")) as conn:
            await refused(hub, conn, StorageError, "no rights: GRANT INSERT")
    finally:
        postgres.sql("drop role clerk", name)
    assert postgres.sql("select count(*) from evbus_outbox", name) == "1\n"


async def test_a_schema_that_is_not_there_is_named(hub: Any, start: Started, url: str) -> None:
    await start(contexts(url, relay=False, schema="wrong"))
    async with await psycopg.AsyncConnection.connect(url) as conn:
        await refused(hub, conn, StorageError, "no schema 'wrong'")


async def test_what_cannot_be_stored_is_refused(
    hub: Any, start: Started, postgres: PostgreSQL, url: str, shop: str
) -> None:
    await start(contexts(url, relay=False, max_event_bytes=100))
    async with await psycopg.AsyncConnection.connect(url) as conn:
        await refused(hub, conn, EventTooLarge, "102 bytes.*at most 100", body="x" * 100)
        await refused(hub, conn, SerializeError, "body", body={"x": object()})
        await refused(hub, conn, BadEvent, "NUL", routing_key="a\0b")
        await refused(hub, conn, BadEvent, "after the commit", confirm="delivered")
        await refused(hub, conn, BadEvent, "header", headers={"x": object()})
    assert postgres.sql("select count(*) from evbus_outbox", shop) == "0\n"


async def test_without_a_running_bus_or_a_profile_nothing_can_be_stored(hub: Any, start: Started, url: str) -> None:
    async with await psycopg.AsyncConnection.connect(url) as conn:
        await refused(hub, conn, LifecycleError, "started bus")
        await start({"internal": {"default": None}})
        await refused(hub, conn, LifecycleError, "profile of the provider postgres")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({}, "connection is missing"),
        ({"connection": 7}, "must be of type str"),
        ({"connection": "dbname=x", "lease": 0}, "lease must be"),
        ({"connection": "dbname=x", "schema": "100%"}, "schema"),
        ({"connection": "dbname=x", "partz": 1}, "no option partz"),
        ({"connection": "hunter2@x"}, "neither a URL"),
        (["connection"], "must be a mapping"),
    ],
)
async def test_a_wrong_profile_is_named_at_the_start(hub: Any, options: dict[str, Any], match: str) -> None:
    with pytest.raises(ProfileError, match=rf"profile postgres:shop: .*{match}") as raised:
        await hub.evbus.init.start({"postgres": {"shop": options}})
    assert "hunter2" not in str(raised.value)


async def test_without_the_extra_the_start_says_what_to_install(hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import util

    find = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name: None if name == "psycopg" else find(name))
    with pytest.raises(ProfileError, match=r"pip install 'evbus-like\[postgres\]'"):
        await hub.evbus.init.start(contexts("postgresql://"))


async def test_an_event_of_a_transaction_expires_too_and_its_row_goes(
    hub: Any, start: Started, postgres: PostgreSQL, shop: str, url: str
) -> None:
    await start({**contexts(url), "internal": {"default": {**ALL, "expires": 3600}}})
    put = hub.evbus.broker.put
    async with KINDS["psycopg"](url) as (conn, _):
        await put("order.placed", {"id": 1}, within=conn, expires=0.001)
        await put("order.placed", {"id": 2}, within=conn, expires=7200)
        await put("order.placed", {"id": 3}, within=conn)
        await asyncio.sleep(0.01)
    events = {event.body: event for event in await received(hub, 2)}
    moments = [event.headers["evbus-expires"] / 1000 - event.timestamp for event in events.values()]
    assert events.keys() == {b'{"id":2}', b'{"id":3}'}
    assert sorted(moments) == [pytest.approx(3600, abs=5), pytest.approx(7200, abs=5)]
    await stays(postgres, shop, "0|3")
    account = hub.evbus.init.account()
    assert (account.delivered, account.expired, account.balanced) == (2, 1, True)

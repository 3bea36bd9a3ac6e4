"""Handlers with an inbox, on a real PostgreSQL: their work and the mark of the event are committed together."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import psycopg
import psycopg_pool
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from evbus_like import handlers as evbus
from evbus_like.engine.receiving import inbox as engine_inbox
from evbus_like.engine.receiving.handler import Handler
from evbus_like.errors import HandlerError
from evbus_like.postgres import ddl, marks
from evbus_like.testing import eventually, handling, running
from tests.brokers.pgbouncer import PgBouncer
from tests.brokers.postgres import PostgreSQL
from tests.docs.blocks import DOCS, blocks
from tests.integration.receiving import handle
from tests.integration.sources import on_hub

OWN = "create table done (id int)"
INSERT = "insert into done (id) values (1)"


@pytest.fixture
def shop(postgres: PostgreSQL) -> str:
    """A database with the tables and one of the application's own."""
    name = postgres.database()
    postgres.sql(ddl.statements() + OWN, name)
    return name


@pytest.fixture
def url(postgres: PostgreSQL, shop: str) -> str:
    return postgres.url(shop)


@pytest.fixture
def sql(postgres: PostgreSQL, shop: str) -> Callable[[str], str]:
    return lambda statement: postgres.sql(statement, shop).strip()


def contexts(url: str, **options: Any) -> dict[str, Any]:
    return {"internal": {"default": None}, "postgres": {"shop": {"connection": url, "timeout": 3.0, **options}}}


def shipping(call: Any, name: str = "ship", **options: Any) -> Handler:
    found: Handler = handle(call, "orders", "placed", name=name, **{"inbox": "shop", "backoff": 0.01, **options})
    return found


@asynccontextmanager
async def bus(
    profiles: dict[str, Any], *handlers: Handler, connect: Any = None, timeout: float = 5.0
) -> AsyncIterator[tuple[Any, Any]]:
    """Run handlers of events in memory with inboxes; yields the hub and the group."""
    async with running(profiles, timeout=timeout) as hub:
        if connect is not None:
            hub.evbus.handlers.transactions("shop", connect)
        async with on_hub(hub, profiles, *handlers, timeout=timeout) as group:
            yield hub, group


async def put(hub: Any, body: Any = 1) -> str:
    """Put an event of the service orders, and return its id."""
    receipt = await hub.evbus.broker.dispatch("orders", "placed", body)
    return str(receipt.id)


async def repeat(hub: Any, event_id: str, body: Any = 1) -> None:
    """Deliver an event with an id once more, as a broker does that had no ack."""
    event = hub.evbus.RUNTIME.putter._event("placed", body, "default", {"evbus-service": "orders"}, None)
    event.id = event_id
    hub.evbus.RUNTIME.bus.intake.put_nowait(event)


async def writes(event: Any) -> None:
    await event.transaction.execute(INSERT)


async def test_the_work_of_a_handler_and_the_mark_are_committed_together(url: str, sql: Any) -> None:
    async with bus(contexts(url), shipping(writes)) as (hub, group):
        event_id = await put(hub)
        await eventually(lambda: group.consumers[0].stats.handled == 1)
        assert sql("select count(*) from done") == "1"
        assert sql("select handler, event_id from evbus_inbox") == f"shipping.ship|{event_id}"
        assert sql("select count(*) from done join evbus_inbox i on i.xmin::text = done.xmin::text") == "1"


async def test_a_repeat_is_acknowledged_without_a_call(url: str, sql: Any) -> None:
    async with bus(contexts(url), shipping(writes)) as (hub, group):
        event_id = await put(hub)
        await repeat(hub, event_id)
        await put(hub)
        stats = group.consumers[0].stats
        await eventually(lambda: stats.handled == 2 and stats.repeats == 1)
        assert (stats.failed, stats.dead) == (0, 0)
        assert sql("select count(*) from done") == "2"
        (facts,) = group.status().values()
        assert (facts["inbox"], facts["repeats"]) == ("shop", 1)


async def test_two_handlers_each_handle_an_event_once(url: str, sql: Any) -> None:
    async with bus(contexts(url), shipping(writes), shipping(writes, "bill")) as (hub, group):
        await repeat(hub, await put(hub))
        await eventually(lambda: all(each.stats.repeats for each in group.consumers))
        assert sql("select count(*) from done") == "2"
        assert sql("select string_agg(handler, ' ' order by handler) from evbus_inbox") == "shipping.bill shipping.ship"


async def test_a_failure_rolls_back_and_is_tried_again_as_for_any_handler(url: str, sql: Any) -> None:
    attempts: list[int] = []

    async def fails_twice(event: Any) -> None:
        await event.transaction.execute(INSERT)
        attempts.append(event.attempt)
        if event.attempt < 3:
            raise ValueError("not yet")

    async with bus(contexts(url), shipping(fails_twice)) as (hub, group):
        await put(hub)
        stats = group.consumers[0].stats
        await eventually(lambda: stats.handled == 1)
        assert attempts == [1, 2, 3]
        assert (stats.failed, stats.retried) == (2, 2)
        assert sql("select count(*) from done") == "1"


@pytest.mark.parametrize("on_error", [evbus.REJECT, evbus.ACK_AND_LOG, evbus.RETRY])
async def test_an_event_that_is_given_up_leaves_nothing(url: str, sql: Any, on_error: str) -> None:
    async def fails(event: Any) -> None:
        await event.transaction.execute(INSERT)
        raise ValueError("never")

    async with bus(contexts(url), shipping(fails, on_error=on_error, attempts=2)) as (hub, group):
        await put(hub)
        stats = group.consumers[0].stats
        await eventually(lambda: stats.failed - stats.retried == 1)
        await eventually(lambda: stats.dead == int(on_error != evbus.ACK_AND_LOG))
        assert sql("select (select count(*) from done) + (select count(*) from evbus_inbox)") == "0"


async def test_events_put_within_the_transaction_are_committed_with_it(url: str, sql: Any) -> None:
    async def ships(event: Any) -> None:
        within = event.transaction
        await hub.evbus.broker.dispatch("shipping", "shipped", event.attempt, within=within)
        if event.attempt < 2:
            raise ValueError("rolled back")

    got: list[Any] = []

    async def notes(event: Any) -> None:
        got.append(event.body)

    noting = handle(notes, "shipping", "shipped", name="note", service="noting")
    async with bus(contexts(url), shipping(ships), noting) as (hub, _):
        await repeat(hub, await put(hub))
        await eventually(lambda: got)
        await eventually(lambda: sql("select sum(delivered) from evbus_part") == "1")
        assert got == [2]


async def test_a_repeat_waits_for_the_first_and_takes_over_after_its_rollback(url: str, sql: Any) -> None:
    calls, may_end = [0], asyncio.Event()

    async def first_fails(event: Any) -> None:
        calls[0] += 1
        await event.transaction.execute(INSERT)
        if calls[0] == 1:
            await may_end.wait()
            raise ValueError("rolled back")

    async with bus(contexts(url), shipping(first_fails, on_error=evbus.ACK_AND_LOG)) as (hub, group):
        event_id = await put(hub)
        await eventually(lambda: calls[0] == 1)
        await repeat(hub, event_id)
        await eventually(lambda: sql("select count(*) from pg_stat_activity where wait_event_type = 'Lock'") == "1")
        assert calls[0] == 1, "the second is not called while the first is under way"
        may_end.set()
        stats = group.consumers[0].stats
        await eventually(lambda: (stats.failed, stats.handled) == (1, 1))
        assert sql("select count(*) from done") == "1"


async def test_a_wait_for_the_first_longer_than_the_timeout_costs_no_attempt(url: str, sql: Any) -> None:
    calls, may_end = [0], asyncio.Event()

    async def slow(event: Any) -> None:
        calls[0] += 1
        await may_end.wait()
        await event.transaction.execute(INSERT)

    async with bus(contexts(url, timeout=0.2), shipping(slow, attempts=1)) as (hub, group):
        event_id = await put(hub)
        await eventually(lambda: calls[0] == 1)
        await repeat(hub, event_id)
        await asyncio.sleep(0.7)
        may_end.set()
        stats = group.consumers[0].stats
        await eventually(lambda: (stats.repeats, stats.handled) == (1, 1))
        assert (calls[0], stats.failed, stats.trouble) == (1, 0, "")
    assert sql("select count(*) from done") == "1"


CAUGHT = "the handler caught the error"


async def swallows(event: Any) -> None:
    try:
        await event.transaction.execute("insert into no_such_table values (1)")
    except Exception:
        return


async def ends(event: Any) -> None:
    await event.transaction.execute(INSERT)
    await event.transaction.execute("rollback")


async def undoes(event: Any) -> None:
    await event.transaction.execute(INSERT)
    raise psycopg.Rollback


async def commits(event: Any) -> None:
    await event.transaction.execute(INSERT)
    await event.transaction.commit()


@pytest.mark.parametrize("handler", [swallows, ends, undoes, commits])
async def test_a_transaction_that_cannot_be_committed_is_a_failure(
    url: str, sql: Any, caplog: pytest.LogCaptureFixture, handler: Any
) -> None:
    async with bus(contexts(url), shipping(handler, attempts=1)) as (hub, group):
        await put(hub)
        stats = group.consumers[0].stats
        await eventually(lambda: stats.dead == 1)
        assert stats.handled == 0
        assert sql("select (select count(*) from done) + (select count(*) from evbus_inbox)") == "0"
    if handler is swallows:
        assert CAUGHT in caplog.text


# ---- the application's own connections


def of_psycopg(url: str) -> Any:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Any]:
        async with psycopg_pool.AsyncConnectionPool(url, open=False, min_size=1) as pool:
            yield pool.connection, lambda conn, statement: conn.execute(statement)

    return opened()


def of_asyncpg(url: str) -> Any:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Any]:
        async with asyncpg.create_pool(url, min_size=1) as pool:
            yield pool.acquire, lambda conn, statement: conn.execute(statement)

    return opened()


def of_sqlalchemy(url: str, driver: str, kind: str) -> Any:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Any]:
        engine = create_async_engine(url.replace("postgresql", f"postgresql+{driver}", 1))
        try:
            yield (
                async_sessionmaker(engine) if kind == "session" else engine.connect,
                lambda conn, statement: conn.execute(text(statement)),
            )
        finally:
            await engine.dispose()

    return opened()


OWN_CONNECTIONS = {
    "psycopg": of_psycopg,
    "asyncpg": of_asyncpg,
    "session-psycopg": lambda url: of_sqlalchemy(url, "psycopg", "session"),
    "session-asyncpg": lambda url: of_sqlalchemy(url, "asyncpg", "session"),
    "connection-psycopg": lambda url: of_sqlalchemy(url, "psycopg", "connection"),
}


@pytest.mark.parametrize("kind", OWN_CONNECTIONS)
async def test_a_handler_runs_on_the_connections_of_the_application(url: str, sql: Any, kind: str) -> None:
    calls = [0]
    async with OWN_CONNECTIONS[kind](url) as (connect, execute):

        async def ships(event: Any) -> None:
            await execute(event.transaction, INSERT)
            await hub.evbus.broker.dispatch("shipping", "shipped", event.attempt, within=event.transaction)
            if event.body == "swallow":
                try:
                    await execute(event.transaction, "insert into no_such_table values (1)")
                except Exception:
                    return
            calls[0] += 1
            if calls[0] == 1:
                raise ValueError("rolled back")

        async with bus(contexts(url, relay=False), shipping(ships, attempts=2), connect=connect) as (hub, group):
            await repeat(hub, await put(hub))
            stats = group.consumers[0].stats
            await eventually(lambda: (stats.handled, stats.repeats, stats.failed) == (1, 1, 1))
            await put(hub, body="swallow")
            await eventually(lambda: stats.dead == 1)
        assert sql("select count(*) from done") == "1"
        assert sql("select count(*) from evbus_outbox") == "1"
        assert sql("select count(*) from evbus_inbox") == "1"


async def test_wrong_connections_are_named_at_the_start(url: str, postgres: PostgreSQL) -> None:
    other = postgres.database()

    @asynccontextmanager
    async def blocking() -> AsyncIterator[Any]:
        with psycopg.connect(url) as conn:
            yield conn

    @asynccontextmanager
    async def begun() -> AsyncIterator[Any]:
        async with await psycopg.AsyncConnection.connect(url) as conn:
            await conn.execute("select 1")
            yield conn

    @asynccontextmanager
    async def elsewhere() -> AsyncIterator[Any]:
        async with await psycopg.AsyncConnection.connect(postgres.url(other)) as conn:
            yield conn

    @asynccontextmanager
    async def broken() -> AsyncIterator[Any]:
        raise AttributeError("no pool here")
        yield

    wrong = {
        blocking: "is a blocking one",
        begun: "in a transaction already",
        elsewhere: f"the tables are not in the schema 'public' of database '{other}'",
        broken: "AttributeError: no pool here",
        dict: "asynchronous context manager",
    }
    for connect, said in wrong.items():
        with pytest.raises(HandlerError, match=said):
            async with bus(contexts(url), shipping(writes), connect=connect):
                pass
    postgres.sql(ddl.statements(), other)
    with pytest.raises(HandlerError, match=f"lead to the database '{other}'"):
        async with bus(contexts(url), shipping(writes), connect=elsewhere):
            pass
    async with running() as hub:
        for arguments in (("", writes), (7, writes), ("shop", "pool")):
            with pytest.raises(HandlerError, match="transactions"):
                hub.evbus.handlers.transactions(*arguments)


# ---- bad input


async def test_what_is_wrong_with_the_database_is_named_at_the_start(url: str, sql: Any, postgres: PostgreSQL) -> None:
    async def problem(profiles: dict[str, Any], **options: Any) -> str:
        with pytest.raises(HandlerError) as found:
            async with bus(profiles, shipping(writes, **options)):
                pass
        return str(found.value)

    assert "no profile postgres:shap; did you mean 'shop'" in await problem(contexts(url), inbox="shap")
    assert "add it to the credentials" in await problem({"internal": {"default": None}})
    assert "does not exist" in await problem(contexts(postgres.url("nowhere")))
    assert "no schema 'other'" in await problem(contexts(url, schema="other"))
    sql("create role guest login; grant select on evbus_schema to guest")
    try:
        guest = url.replace("postgres@", "guest@")
        assert "GRANT SELECT, INSERT ON" in await problem(contexts(guest))
        sql("grant select, insert on evbus_inbox to guest")
        assert "GRANT DELETE ON" in await problem(contexts(guest))
    finally:
        sql("drop owned by guest; drop role guest")
    sql("update evbus_schema set version = 1")
    assert "evbus db schema --after 1" in await problem(contexts(url))
    sql("drop table evbus_inbox")
    assert "evbus_inbox is missing" in await problem(contexts(url))
    sql("drop schema public cascade; create schema public")
    assert "`evbus db schema` prints the SQL" in await problem(contexts(url))


# ---- faults


async def test_events_wait_while_the_database_is_away(url: str, sql: Any, postgres: PostgreSQL) -> None:
    async with bus(contexts(url), shipping(writes, attempts=1)) as (hub, group):
        await put(hub)
        stats = group.consumers[0].stats
        await eventually(lambda: stats.handled == 1)
        postgres.stop()
        try:
            for _ in range(5):
                await put(hub)
            await eventually(lambda: "cannot be used, events wait" in stats.trouble, 20)
            assert (stats.failed, stats.dead, stats.state) == (0, 0, "open")
        finally:
            await asyncio.to_thread(postgres.start)
        await eventually(lambda: stats.handled == 6, 60)
        assert (stats.failed, stats.trouble) == (0, "")
    assert sql("select count(*) from done") == "6"


async def test_a_start_without_the_database_and_a_stop_meanwhile_are_short(url: str, postgres: PostgreSQL) -> None:
    away = url.replace(str(postgres.port), "1")
    begun = asyncio.get_running_loop().time()
    async with bus(contexts(away), shipping(writes), timeout=30.0) as (hub, group):
        await put(hub)
        await eventually(lambda: group.consumers[0].stats.trouble, 20)
    assert asyncio.get_running_loop().time() - begun < 25
    assert group.consumers[0].stats.handled == 0


async def test_a_handler_that_is_late_is_rolled_back(url: str, sql: Any) -> None:
    async def hangs_once(event: Any) -> None:
        await event.transaction.execute(INSERT)
        if event.attempt == 1:
            await event.transaction.execute("select pg_sleep(60)")

    async with bus(contexts(url), shipping(hangs_once, timeout=0.2, max_workers=1)) as (hub, group):
        await put(hub)
        stats = group.consumers[0].stats
        await eventually(lambda: (stats.failed, stats.handled) == (1, 1))
    assert sql("select count(*) from done") == "1"
    await eventually(lambda: sql("select count(*) from pg_stat_activity where query like '%pg_sleep(60)'") == "0")


async def test_an_event_put_outside_that_is_not_accepted_rolls_back(url: str, sql: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(engine_inbox, "DURABLE_WITHIN", 0.2)

    async def puts(event: Any) -> None:
        await event.transaction.execute(INSERT)
        await hub.evbus.broker.put("x", 1, "stuck")

    profiles = contexts(url)
    profiles["kafka"] = {"stuck": {"connection": {"bootstrap_servers": "127.0.0.1:1"}}}
    async with bus(profiles, shipping(puts, attempts=1), timeout=0.5) as (hub, group):
        await put(hub)
        await eventually(lambda: group.consumers[0].stats.dead == 1)
    assert sql("select (select count(*) from done) + (select count(*) from evbus_inbox)") == "0"


async def test_connections_are_at_most_as_many_as_workers(url: str, sql: Any) -> None:
    most = [0]
    query = "select count(*) from pg_stat_activity where application_name = 'evbus_like inbox'"

    async def counts(event: Any) -> None:
        cursor = await event.transaction.execute(query)
        most[0] = max(most[0], (await cursor.fetchone())[0])
        await event.transaction.execute("select pg_sleep(0.01)")

    async with bus(contexts(url), shipping(counts, max_workers=3, prefetch=50)) as (hub, group):
        for _ in range(50):
            await put(hub)
        await eventually(lambda: group.consumers[0].stats.handled == 50)
    assert most[0] == 3


async def test_it_works_through_pgbouncer(postgres: PostgreSQL, sql: Any, shop: str) -> None:
    bouncer = PgBouncer(postgres, size=4)
    try:
        bouncer.start()
        async with bus(contexts(bouncer.url(shop), relay=False), shipping(writes)) as (hub, group):
            for _ in range(20):
                await repeat(hub, await put(hub))
            stats = group.consumers[0].stats
            await eventually(lambda: (stats.handled, stats.repeats) == (20, 20))
    finally:
        bouncer.close()
    assert sql("select count(*) from done") == "20"


# ---- marks


@pytest.mark.parametrize("event_id", ["x" * 100_000, "nul\0", "lone\ud800", "ü'\"%s"])
async def test_ids_of_strangers_are_marked_whatever_they_are(url: str, sql: Any, event_id: str) -> None:
    async with bus(contexts(url), shipping(writes)) as (hub, group):
        await repeat(hub, event_id)
        await repeat(hub, event_id)
        stats = group.consumers[0].stats
        await eventually(lambda: (stats.handled, stats.repeats) == (1, 1))
    assert sql("select count(*) from done") == "1"


async def test_an_event_without_an_id_is_handled_without_a_mark_and_that_is_said(
    url: str, sql: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with bus(contexts(url), shipping(writes)) as (hub, group):
        await repeat(hub, "")
        await repeat(hub, "")
        await eventually(lambda: group.consumers[0].stats.handled == 2)
    assert sql("select count(*) from done") == "2"
    assert sql("select count(*) from evbus_inbox") == "0"
    assert caplog.text.count("events without an id") == 1


async def test_old_marks_are_removed_in_batches_with_the_rights_that_a_start_asks_for(
    url: str, sql: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(marks, "REMOVE_BATCH", 10)
    monkeypatch.setattr(marks, "REMOVE_EVERY", (0.05, 0.05))
    sql("create role guest login; grant select on evbus_schema to guest")
    sql("grant select, insert, delete on evbus_inbox to guest")
    sql("insert into evbus_inbox select 'x', n, now() - n * interval '1 minute' from generate_series(0, 94) n")
    try:
        guest = url.replace("postgres@", "guest@")
        async with bus(contexts(guest, inbox_keep=30 * 60 - 30), shipping(writes)):
            await eventually(lambda: sql("select count(*) from evbus_inbox") == "30")
    finally:
        sql("drop owned by guest; drop role guest")


async def test_the_transaction_is_there_only_in_such_a_handler(url: str) -> None:
    kept: list[Any] = []

    async def keeps(event: Any) -> None:
        kept.append(event)
        if len(kept) == 1:
            _ = event.transaction

    async with bus(contexts(url), shipping(keeps), shipping(keeps, "plain", inbox="", attempts=1)) as (hub, group):
        await put(hub)
        await eventually(lambda: sum(each.stats.handled for each in group.consumers) >= 1 and len(kept) >= 2)
    for event in kept:
        with pytest.raises(HandlerError, match="inbox="):
            _ = event.transaction


async def test_a_forked_child_of_a_handler_commits_nothing(url: str, sql: Any) -> None:
    async def forks(event: Any) -> None:
        await event.transaction.execute(INSERT)
        if child := os.fork():
            await asyncio.to_thread(os.waitpid, child, 0)

    async with bus(contexts(url), shipping(forks)) as (hub, group):
        await put(hub)
        await eventually(lambda: group.consumers[0].stats.handled == 1)
    assert sql("select count(*) from done") == "1"


# ---- the test kit and the page


@pytest.fixture
def application(package: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The application of docs/handlers.md."""
    found = {block.caption: block.text for block in blocks(DOCS / "handlers.md")}
    files = {path.removeprefix("shop/"): code for path, code in found.items() if path.startswith("shop/handler/stock")}
    monkeypatch.syspath_prepend(package(files))
    yield
    for name in [name for name in sys.modules if name.startswith("their_app")]:
        del sys.modules[name]


STOCK = "create table stock (item text, free int); insert into stock values ('tea', 10)"


async def test_the_handler_of_the_page_runs_in_the_test_kit_with_a_database(
    application: None, url: str, sql: Any
) -> None:
    sql(STOCK)
    async with handling(only="stock", postgres={"shop": {"connection": url}}) as found:
        order = await found.dispatch("orders", "placed", {"item": "tea", "count": 3})
        await found.handled("stock.reserve")
        await repeat(found.hub, order.id)
        await eventually(lambda: sum(each["repeats"] for each in found.hub.evbus.handlers.status().values()) == 1)
        await eventually(lambda: sql("select sum(delivered) from evbus_part") == "1")
    assert sql("select free from stock") == "7"


async def test_a_handler_is_called_in_a_transaction_of_the_test(application: None, url: str, sql: Any) -> None:
    sql(STOCK)
    body = {"item": "tea", "count": 3}
    async with (
        handling(only="stock", postgres={"shop": {"connection": url}}) as found,
        await psycopg.AsyncConnection.connect(url) as conn,
    ):
        await found.call("stock.reserve", body, transaction=conn)
        await conn.rollback()
    assert sql("select free from stock") == "10"
    async with handling(only="stock") as found:
        with pytest.raises(HandlerError, match="handling\\(postgres="):
            await found.call("stock.reserve", body)


async def test_a_handler_with_an_inbox_is_killed_at_its_statements_and_does_no_harm(
    application: None, url: str, sql: Any
) -> None:
    sql(STOCK)

    async with handling(only="stock", postgres={"shop": {"connection": url}}) as found:
        report = await found.crashes(
            "stock.reserve",
            {"item": "tea", "count": 3},
            check=lambda: sql("select free from stock") == "7",
            reset=lambda: sql("update stock set free = 10"),
        )

    kinds = [(each.kind, each.after) for each in report.points]
    assert {("SQL", False), ("SQL", True)} <= set(kinds)
    assert [each.source for each in report.points if each.kind == "end"] == [
        "after it had returned, before its event was acknowledged",
        "after the commit of its inbox, before its event was acknowledged",
    ]


async def test_the_lifespan_of_the_page_gives_its_own_pool(url: str, sql: Any) -> None:
    (code,) = [block.text for block in blocks(DOCS / "handlers.md") if "transactions(" in block.text and block.caption]
    made: dict[str, Any] = {}
    exec(code.replace("postgresql:///shop", url), made)
    async with running(contexts(url)) as hub:
        await made["start"](hub)
        async with on_hub(hub, contexts(url), shipping(writes)) as group:
            await put(hub)
            await eventually(lambda: group.consumers[0].stats.handled == 1)
        await made["stop"](hub)
    assert sql("select count(*) from done") == "1"

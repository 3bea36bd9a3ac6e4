"""Events that are put for later within the application's own transaction, on a real PostgreSQL."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from evbus_like.errors import BadEvent, StorageError
from evbus_like.postgres import ddl
from evbus_like.testing import eventually, running
from tests.brokers.postgres import PostgreSQL
from tests.integration.support import DEADLINE
from tests.integration.test_postgres_put import KINDS, Rollback

Started = Callable[..., Awaitable[Any]]
HOUR = 3600.0
SCHEDULED = "select event_id from evbus_scheduled"
STATE = """select (select count(*) from evbus_scheduled), (select count(*) from evbus_outbox), sum(delivered)
    from evbus_part"""


@pytest.fixture
def shop(postgres: PostgreSQL) -> str:
    name = postgres.database()
    postgres.sql(ddl.statements(), name)
    return name


@pytest.fixture
def url(postgres: PostgreSQL, shop: str) -> str:
    return postgres.url(shop)


def contexts(url: str, **options: Any) -> dict[str, Any]:
    return {"internal": {"default": {"routing_key": "all"}}, "postgres": {"shop": {"connection": url, **options}}}


def arrived(hub: Any) -> list[Any]:
    """The bodies of the events that came until now."""
    return [int(event.body) for event in hub.ingress.internal.mailbox("all").items]


@pytest.mark.parametrize("kind", KINDS)
async def test_an_event_comes_when_it_is_due_after_the_commit_and_neither_after_a_rollback_nor_a_cancel(
    hub: Any, start: Started, postgres: PostgreSQL, shop: str, url: str, kind: str
) -> None:
    await start(contexts(url))
    put, cancel = hub.evbus.broker.put, hub.evbus.broker.cancel
    with pytest.raises(Rollback):  # noqa: PT012 - the transaction ends by it
        async with KINDS[kind](url) as (conn, _):
            await put("k", 1, within=conn, delay=0)
            raise Rollback
    async with KINDS[kind](url) as (conn, _):
        kept = await put("k", 2, within=conn, delay=HOUR)
        cancelled = await put("k", 3, within=conn, at=datetime.now(UTC) + timedelta(seconds=1))
        receipt = await put("k", 4, within=conn, delay=1)
        await put("k", 5, within=conn, delay=0)
    with pytest.raises(Rollback):  # noqa: PT012 - the transaction ends by it
        async with KINDS[kind](url) as (conn, _):
            assert await cancel(kept.schedule_id, within=conn)
            raise Rollback
    async with KINDS[kind](url) as (conn, _):
        assert await cancel(cancelled.schedule_id, within=conn) is True
        assert await cancel(cancelled.schedule_id, within=conn) is False
    assert (receipt.stored, receipt.schedule_id, receipt.destinations) == (True, receipt.id, ("internal:default",))
    await eventually(lambda: 4 in arrived(hub), DEADLINE)
    assert time.time() >= receipt.due
    assert arrived(hub) == [5, 4]
    await eventually(lambda: postgres.sql(STATE, shop) == "1|0|2\n", DEADLINE)
    assert postgres.sql(SCHEDULED, shop) == f"{kept.id}\n"


async def test_any_process_of_the_application_cancels_and_the_relay_of_another_one_sends(
    hub: Any, start: Started, postgres: PostgreSQL, shop: str, url: str
) -> None:
    await start(contexts(url))
    async with running(contexts(url, relay=False)) as other:
        async with await psycopg.AsyncConnection.connect(url) as conn:
            cancelled = await other.evbus.broker.put("k", 1, within=conn, delay=HOUR)
            sent = await other.evbus.broker.put("k", 2, within=conn, delay=0.5)
        assert await hub.evbus.broker.cancel(cancelled.schedule_id) is True
        assert await other.evbus.broker.cancel(cancelled.schedule_id) is False
        await asyncio.to_thread(postgres.restart)
        assert await other.evbus.broker.cancel("no such event") is False, "its connection is made again"
    await eventually(lambda: arrived(hub) == [2], DEADLINE)
    assert time.time() >= sent.due
    assert postgres.sql(SCHEDULED, shop) == ""


async def test_what_a_transaction_is_about_to_cancel_waits_for_it_and_holds_up_no_other(
    hub: Any, start: Started, url: str
) -> None:
    await start(contexts(url))
    put = hub.evbus.broker.put
    async with await psycopg.AsyncConnection.connect(url) as conn:
        first = await put("k", 1, within=conn, key="same", delay=0.3)
        await conn.commit()
        assert await hub.evbus.broker.cancel(first.schedule_id, within=conn)
        async with await psycopg.AsyncConnection.connect(url) as other:
            await put("k", 2, within=other, key="same", delay=0.4)
        await eventually(lambda: arrived(hub) == [2], DEADLINE)
        await conn.rollback()
    await eventually(lambda: arrived(hub) == [2, 1], DEADLINE)


async def test_events_that_are_due_at_a_start_come_at_once_in_the_order_of_their_times(
    hub: Any, start: Started, postgres: PostgreSQL, shop: str, url: str
) -> None:
    columns = "(due, part, event_id, profile, routing_key, content_type, body)"
    row = "now() - n * interval '1 s', 1, 'e' || n, 'default', 'k', 'application/json', convert_to(n::text, 'UTF8')"
    postgres.sql(f"insert into evbus_scheduled {columns} select {row} from generate_series(1, 3000) n", shop)
    large = "now(), 1, 'large' || n, 'default', 'k', 'application/json', convert_to(repeat('1', 4000000), 'UTF8')"
    postgres.sql(f"insert into evbus_scheduled {columns} select {large} from generate_series(1, 10) n", shop)
    await start(contexts(url))
    mailbox = hub.ingress.internal.mailbox("all").items
    await eventually(lambda: len(mailbox) == 3010, DEADLINE)
    assert [int(event.body) for event in list(mailbox)[:3000]] == list(range(3000, 0, -1))
    assert {event.id for event in list(mailbox)[3000:]} == {f"large{number}" for number in range(1, 11)}
    await eventually(lambda: postgres.sql(STATE, shop) == "0|0|3010\n", DEADLINE)


async def test_with_the_tables_of_the_version_before_puts_say_what_to_do_and_work_after_it(
    hub: Any, start: Started, postgres: PostgreSQL
) -> None:
    name = postgres.database()
    upgrade = ddl.statements(after=2)
    old = ddl.statements().replace(upgrade.removeprefix("BEGIN;\n").removesuffix("COMMIT;\n"), "")
    postgres.sql(old, name)
    assert postgres.sql("select version from evbus_schema", name) == "2\n"
    await start(contexts(postgres.url(name)))
    async with await psycopg.AsyncConnection.connect(postgres.url(name)) as conn:
        with pytest.raises(StorageError, match="evbus db schema --after 2"):
            await hub.evbus.broker.put("k", 1, within=conn, delay=0)
        await conn.rollback()
        postgres.sql(upgrade, name)
        await hub.evbus.broker.put("k", 1, within=conn, delay=0)
        await conn.commit()
    await eventually(lambda: arrived(hub) == [1], DEADLINE)


async def test_a_user_without_the_rights_is_told_before_anything_is_written_and_the_relay_serves_the_others(
    hub: Any, start: Started, postgres: PostgreSQL, shop: str, caplog: pytest.LogCaptureFixture
) -> None:
    grants = """create role clerk login; grant select, insert, update, delete on all tables in schema public to clerk;
        revoke all on evbus_scheduled from clerk;"""
    postgres.sql(grants, shop)
    try:
        url = postgres.url(shop, "clerk")
        await start(contexts(url))
        async with await psycopg.AsyncConnection.connect(url) as conn:
            with pytest.raises(StorageError, match=r"GRANT INSERT ON \"public\"\.evbus_scheduled"):
                await hub.evbus.broker.put("k", 1, within=conn, delay=1)
            await hub.evbus.broker.put("k", 2, within=conn)
        await eventually(lambda: arrived(hub) == [2], DEADLINE)
        with pytest.raises(StorageError, match="permission denied for table evbus_scheduled"):
            await hub.evbus.broker.cancel("any")
        assert "evbus_scheduled: permission denied" in hub.evbus.init.status()["postgres"]["shop"]["trouble"]
        await hub.evbus.init.stop(5)
    finally:
        postgres.sql("drop owned by clerk; drop role clerk", shop)


async def test_what_no_transaction_can_do_is_refused(hub: Any, start: Started, url: str) -> None:
    await start(contexts(url))
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as conn:
        with pytest.raises(BadEvent, match="outside of a transaction"):
            await hub.evbus.broker.put("k", 1, within=conn, delay=1)
        with pytest.raises(BadEvent, match="outside of a transaction"):
            await hub.evbus.broker.cancel("any", within=conn)
    with pytest.raises(BadEvent, match="'delivered' cannot be had"):
        await hub.evbus.broker.put("k", 1, within=conn, delay=1, confirm="delivered")

"""The relay of the application's outbox on a real PostgreSQL that commits late, fails, and has other relays."""

import asyncio
import random
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest

from evbus_like.postgres import ddl
from evbus_like.postgres import relay as relays
from evbus_like.testing import new_hub
from tests.brokers.postgres import PostgreSQL

Started = Callable[..., Awaitable[Any]]
ALL = {"routing_key": "all"}  # one queue for everything
COLUMNS = "(part, event_id, profile, routing_key, content_type, body)"
ROW = f"insert into evbus_outbox {COLUMNS}"
END = "select pg_terminate_backend(pid) from pg_stat_activity where datname = {} and pid <> pg_backend_pid()"
JSON = "application/json"
DEADLINE = 60


@pytest.fixture
def shop(postgres: PostgreSQL) -> str:
    name = postgres.database()
    postgres.sql(ddl.statements(), name)
    return name


def contexts(postgres: PostgreSQL, shop: str, **options: Any) -> dict[str, Any]:
    return {"internal": {"default": ALL}, "postgres": {"shop": {"connection": postgres.url(shop), **options}}}


@asynccontextmanager
async def running(given: dict[str, Any]) -> AsyncIterator[Any]:
    """Another bus in this process, with a hub of its own."""
    hub = new_hub()
    task = asyncio.create_task(hub.evbus.init.start(given))
    await hub.evbus.init.join()
    try:
        yield hub
    finally:
        await hub.evbus.init.stop(10)
        await task


def rows(count: int, letter: str, profile: str = "default") -> str:
    """SQL that inserts so many rows, spread over the parts."""
    return f"{ROW} select n % 8, '{letter}' || n, '{profile}', 'x', '{JSON}', '1' from generate_series(1, {count}) n;"


def row(part: int, event_id: str, body: str = "1", profile: str = "default") -> str:
    """SQL that inserts a row."""
    return f"{ROW} values ({part}, '{event_id}', '{profile}', 'x', '{JSON}', '{body}');"


def received(hub: Any) -> list[str]:
    """The ids of the events that came until now, in their order."""
    return [event.id for event in hub.ingress.internal.mailbox("all").items]


async def until(done: Callable[[], bool], seconds: float = DEADLINE) -> None:
    async with asyncio.timeout(seconds):
        while not done():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.02)


def state(postgres: PostgreSQL, shop: str) -> str:
    """What waits, what was delivered, and what was given up."""
    sql = "select (select count(*) from evbus_outbox), sum(delivered), sum(dead_lettered) from evbus_part"
    return postgres.sql(sql, shop).strip()


async def test_transactions_that_commit_in_any_order_lose_nothing(
    hub: Any, start: Started, postgres: PostgreSQL, shop: str
) -> None:
    await start(contexts(postgres, shop))
    draw, committed = random.Random(7), []

    async def work(number: int) -> None:
        async with await psycopg.AsyncConnection.connect(postgres.url(shop)) as conn:
            for each in range(60):
                ids = [
                    (await hub.evbus.broker.put("x", each, key=f"{number}-{draw.randrange(9)}", within=conn)).id
                    for _ in range(draw.randint(1, 4))
                ]
                await asyncio.sleep(draw.choice([0, 0, 0.001, 0.02, 0.4 if draw.random() < 0.05 else 0]))
                if draw.random() < 0.2:
                    await conn.rollback()
                else:
                    await conn.commit()
                    committed.extend(ids)

    await asyncio.gather(*(work(number) for number in range(6)))
    await until(lambda: len(received(hub)) >= len(committed))
    await asyncio.sleep(0.6)
    assert Counter(received(hub)) == Counter(committed)
    await until(lambda: state(postgres, shop) == f"0|{len(committed)}|0")


async def test_a_transaction_that_goes_on_elsewhere_stops_nobody_and_its_event_comes_after_the_commit(
    hub: Any, start: Started, postgres: PostgreSQL, shop: str
) -> None:
    await start(contexts(postgres, shop))
    async with (
        await psycopg.AsyncConnection.connect(postgres.url(shop)) as slow,
        await psycopg.AsyncConnection.connect(postgres.url(shop)) as snapshot,
        await psycopg.AsyncConnection.connect(postgres.url(shop)) as conn,
    ):
        await snapshot.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
        await snapshot.execute("select 1")
        first = await hub.evbus.broker.put("x", 1, within=slow, key="same")
        for number in range(200):
            await hub.evbus.broker.put("x", number, within=conn, key="same")
            await conn.commit()
        await until(lambda: len(received(hub)) == 200, 20)
        await asyncio.sleep(4)  # the floor of late looks would have passed its id
        await slow.commit()
        await until(lambda: first.id in received(hub), 20)
    assert len(received(hub)) == 201


async def test_the_events_of_one_key_come_in_the_order_of_their_ids(
    hub: Any, start: Started, postgres: PostgreSQL, shop: str
) -> None:
    postgres.sql(rows(20_000, "e"), shop)
    await start(contexts(postgres, shop))
    await until(lambda: len(received(hub)) == 20_000)
    for part in range(8):
        mine = [int(each[1:]) for each in received(hub) if int(each[1:]) % 8 == part]
        assert mine == sorted(mine)


async def test_two_processes_share_the_parts_and_the_other_takes_over_those_of_a_dead_one(
    postgres: PostgreSQL, shop: str
) -> None:
    owners = "select count(*) from evbus_part where owner is not null and expires > now() group by owner order by 1"
    given = contexts(postgres, shop, lease=2)
    async with running(given) as one:
        await until(lambda: postgres.sql(owners, shop) == "8\n")
        async with running(given) as other:
            await until(lambda: postgres.sql(owners, shop) == "4\n4\n")
            postgres.sql(
                rows(800, "e"),
                shop,
            )
            await until(lambda: len(received(one)) + len(received(other)) == 800)
            assert len(received(one)) == len(received(other)) == 400
            relay = other.evbus.RUNTIME.databases._relays["shop"]
            relay._task.cancel()  # it dies, and gives nothing up
            await until(lambda: postgres.sql(owners, shop) == "8\n", 20)
            postgres.sql(
                row(0, "a") + row(7, "b"),
                shop,
            )
            await until(lambda: {"a", "b"} <= {*received(one)})
    assert postgres.sql("select count(*) from evbus_part where owner is not null", shop) == "0\n"


@pytest.mark.parametrize("trouble", ["restart", "kill", "freeze", "end the sessions"])
async def test_after_trouble_of_the_database_every_event_is_delivered(
    hub: Any, start: Started, postgres: PostgreSQL, shop: str, trouble: str
) -> None:
    await start(contexts(postgres, shop, timeout=2, lease=2))
    stored: list[str] = []
    going = True

    async def work() -> None:
        while going:
            try:
                async with asyncio.timeout(5):
                    async with await psycopg.AsyncConnection.connect(postgres.url(shop)) as conn:
                        while going:
                            receipt = await hub.evbus.broker.put("x", 1, within=conn)
                            await conn.commit()
                            stored.append(receipt.id)
            except Exception:
                await asyncio.sleep(0.1)

    working = asyncio.create_task(work())
    await until(lambda: len(received(hub)) > 100)
    if trouble == "restart":
        await asyncio.to_thread(postgres.restart)
    elif trouble == "kill":
        await asyncio.to_thread(postgres.kill)
        await asyncio.sleep(1)
        await asyncio.to_thread(postgres.start)
    elif trouble == "freeze":
        await asyncio.to_thread(postgres.pause)
        await asyncio.sleep(4)
        await asyncio.to_thread(postgres.resume)
    else:
        postgres.sql(END.format("current_database()"), shop)
    before = len(stored)
    await until(lambda: len(stored) > before + 100)
    going = False
    await working
    await until(lambda: {*stored} <= {*received(hub)})
    await until(lambda: state(postgres, shop).startswith("0|"))
    assert len(received(hub)) - len({*received(hub)}) <= 2 * relays.MOST_IN_LANES


async def test_events_that_no_destination_takes_are_dead_letters_and_are_counted(
    hub: Any, start: Started, postgres: PostgreSQL, shop: str
) -> None:
    given = contexts(postgres, shop)
    given["internal"]["yaml"] = {"serializer": "msgpack", **ALL}
    await start(given)
    wrong = "update evbus_outbox set headers = '[7]' where event_id = 'bad-headers'"
    both = row(0, "bad-body", "{", "yaml") + row(0, "bad-headers")
    postgres.sql(f"begin; {both} {wrong}; commit", shop)
    await until(lambda: state(postgres, shop) == "0|0|2")
    reasons = postgres.sql("select event_id, destination, reason from evbus_dead order by 1", shop)
    assert "bad-body|internal:yaml|" in reasons
    assert "bad-headers|postgres:shop|the row is no event" in reasons


async def test_a_destination_that_is_down_holds_up_no_other(
    hub: Any, start: Started, postgres: PostgreSQL, shop: str
) -> None:
    given = contexts(postgres, shop)
    given["amqp"] = {"away": {"connection": {"host": "127.0.0.1", "port": 1}, "max_events": 10}}
    await start(given)
    postgres.sql(rows(9000, "a", "away"), shop)
    postgres.sql(rows(900, "e"), shop)
    await until(lambda: len(received(hub)) == 900, 30)
    await until(lambda: state(postgres, shop) == "9000|900|0")


async def test_what_the_lanes_still_have_at_a_stop_stays_in_the_table(
    hub: Any, start: Started, postgres: PostgreSQL, shop: str
) -> None:
    given = contexts(postgres, shop)
    given["amqp"] = {"away": {"connection": {"host": "127.0.0.1", "port": 1}}}
    listener = await start(given)
    postgres.sql(rows(50, "a", "away"), shop)
    await until(lambda: hub.evbus.init.status()["destinations"]["amqp:away"]["queued"] == 50)
    account = await hub.evbus.init.stop(0.5)
    await listener
    assert (account.balanced, account.spilled, account.dropped) == (True, 50, 0)
    assert state(postgres, shop) == "50|0|0"


async def test_two_applications_share_a_database(postgres: PostgreSQL) -> None:
    name = postgres.database()
    postgres.sql(ddl.statements("shop") + ddl.statements("stock"), name)
    both = [contexts(postgres, name, schema=schema) for schema in ("shop", "stock")]
    async with running(both[0]) as shop, running(both[1]) as stock:
        for hub, number in ((shop, 1), (stock, 2)):
            with psycopg.connect(postgres.url(name)) as conn:
                hub.evbus.broker.put_nowait("x", number, within=conn)
        await until(lambda: len(received(shop)) == len(received(stock)) == 1)
        assert [event.body for event in shop.ingress.internal.mailbox("all").items] == [b"1"]


async def test_a_database_that_becomes_read_only_and_one_that_is_restored_lose_nothing(
    hub: Any, start: Started, postgres: PostgreSQL, shop: str
) -> None:
    await start(contexts(postgres, shop, lease=2))
    dump = [f"{postgres.bin}/pg_dump", "-d", postgres.url(shop)]
    postgres.sql(row(0, "yesterday"), shop)
    await until(lambda: received(hub) == ["yesterday"])
    yesterday = (await asyncio.to_thread(subprocess.run, dump, capture_output=True, text=True, check=True)).stdout
    postgres.sql(f"alter database {shop} set default_transaction_read_only = on", shop)
    postgres.sql(END.format("current_database()"), shop)
    relay = hub.evbus.RUNTIME.databases._relays["shop"]
    await until(lambda: relay.state == "retrying" and "read-only" in relay.trouble)
    postgres.sql(f"alter database {shop} set default_transaction_read_only = off", "postgres")
    await until(lambda: relay.state == "open")
    postgres.sql(rows(100, "e"), shop)
    await until(lambda: len(received(hub)) == 101)
    # The ids begin again where they were yesterday: the same ids are other events.
    postgres.sql(f"alter database {shop} allow_connections false", "postgres")
    postgres.sql(END.format(f"'{shop}'"), "postgres")
    postgres.sql(f"drop database {shop} with (force)", "postgres")
    postgres.sql(f"create database {shop}", "postgres")
    postgres.sql(yesterday, shop)
    postgres.sql(rows(50, "f"), shop)
    await until(lambda: sum(each.startswith("f") for each in received(hub)) == 50)

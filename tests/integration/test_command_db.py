"""`evbus db`, run as a user runs it, on a real PostgreSQL."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from evbus_like.postgres import ddl
from tests.brokers.postgres import BrokerError, PostgreSQL
from tests.integration.commands import evbus, write_credentials

Started = Callable[..., Awaitable[Any]]


@pytest.fixture
def shop(postgres: PostgreSQL) -> str:
    return postgres.database()


def credentials(folder: Path, postgres: PostgreSQL, shop: str, **options: Any) -> dict[str, Any]:
    profiles = {"internal": {"default": None}, "postgres": {"shop": {"connection": postgres.url(shop), **options}}}
    write_credentials(folder, profiles)
    return profiles


async def test_the_sql_that_it_prints_makes_tables_with_nothing_missing(
    tmp_path: Path, postgres: PostgreSQL, shop: str
) -> None:
    credentials(tmp_path, postgres, shop, schema="events")
    code, out, _ = await evbus(tmp_path, "db", "check")
    assert code == 1
    assert "no schema" in out or "no tables in the schema 'events'" in out
    code, sql, _ = await evbus(tmp_path, "db", "schema", "--schema", "events", "--parts", "3", credentials=False)
    assert code == 0
    postgres.sql(sql, shop)
    assert await evbus(tmp_path, "db", "check") == (0, "postgres:shop: ok\n", "")
    assert (await evbus(tmp_path, "db", "schema", "--after", str(ddl.LATEST)))[1].startswith("-- ")


async def gives(postgres: PostgreSQL, sql: str, wanted: str, database: str) -> None:
    """Wait until a query gives this."""
    async with asyncio.timeout(20):
        while postgres.sql(sql, database) != f"{wanted}\n":  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.05)


BROKEN = {
    "drop table evbus_part": "evbus_part is missing",
    "alter table evbus_outbox drop column headers": "evbus_outbox has no column headers",
    "update evbus_schema set version = 0": "version 0",
    "update evbus_schema set version = 99": "install a newer one",
    "delete from evbus_schema": "evbus_schema is empty",
    "delete from evbus_part where part = 1": "7 of the 8 parts",
    "alter table evbus_outbox drop constraint evbus_outbox_pkey": "no valid index",
    "alter table evbus_outbox reset (autovacuum_vacuum_scale_factor)": "autovacuum_vacuum_scale_factor = 0",
    "alter table evbus_outbox alter id set cache 50": "blocks of 50",
}


async def test_check_names_what_is_wrong_and_the_remedy(tmp_path: Path, postgres: PostgreSQL, shop: str) -> None:
    credentials(tmp_path, postgres, shop)
    for statement, said in BROKEN.items():
        postgres.sql("drop schema public cascade; create schema public", shop)
        postgres.sql(ddl.statements() + statement, shop)
        code, out, _ = await evbus(tmp_path, "db", "check", "--json", "shop")
        problems = json.loads(out)["postgres:shop"]["problems"]
        assert (code, len(problems)) == (1, 1), (statement, problems)
        assert said in problems[0]


async def test_check_names_rights_that_are_missing(tmp_path: Path, postgres: PostgreSQL, shop: str) -> None:
    postgres.sql(
        ddl.statements() + "create role reader login; grant select on all tables in schema public to reader", shop
    )
    try:
        write_credentials(tmp_path, {"postgres": {"shop": {"connection": postgres.url(shop, "reader")}}})
        code, out, _ = await evbus(tmp_path, "db", "check")
        assert code == 1
        assert 'GRANT INSERT, DELETE ON "public".evbus_outbox' in out
        assert 'GRANT INSERT, UPDATE, DELETE ON "public".evbus_relay' in out
    finally:
        postgres.sql("drop owned by reader; drop role reader", shop)


async def test_status_answers_with_the_account(
    hub: Any, start: Started, tmp_path: Path, postgres: PostgreSQL, shop: str
) -> None:
    postgres.sql(ddl.statements(), shop)
    profiles = credentials(tmp_path, postgres, shop)
    await start(profiles)
    with psycopg.connect(postgres.url(shop)) as conn:
        for number in range(5):
            hub.evbus.broker.put_nowait("x", number, profile="default" if number < 3 else "nobody", within=conn)
    await gives(postgres, "select sum(delivered) from evbus_part", "3", shop)
    code, out, _ = await evbus(tmp_path, "db", "status")
    assert code == 0
    assert "stored 5 = delivered 3 + dead-lettered 0 + waiting 2" in out
    assert "nobody" in out
    await hub.evbus.init.stop(5)
    code, out, _ = await evbus(tmp_path, "db", "status", "--json")
    found = json.loads(out)["postgres:shop"]
    assert code == 1, "events wait and nobody relays"
    assert (found["stored"], found["waiting"], found["unowned"], found["relays"]) == (5, 2, 8, {})
    assert found["by_profile"] == {"nobody": 2}


async def test_what_cannot_be_looked_at_ends_with_2(tmp_path: Path, postgres: PostgreSQL, shop: str) -> None:
    write_credentials(tmp_path, {"postgres": {"shop": {"connection": "postgresql://u:hunter2@127.0.0.1:1/x"}}})
    code, _, err = await evbus(tmp_path, "db", "status")
    assert code == 2
    assert "postgres:shop" in err
    assert "hunter2" not in err
    assert (await evbus(tmp_path, "db", "status", "other"))[0] == 1
    write_credentials(tmp_path, {"internal": {"default": None}})
    assert "no profile of the provider postgres" in (await evbus(tmp_path, "db", "check"))[2]
    assert (await evbus(tmp_path, "db"))[0] == 2
    assert (await evbus(tmp_path, "db", "schema", "--schema", "100%"))[0] == 2


async def test_evbus_check_looks_at_the_database_too(tmp_path: Path, postgres: PostgreSQL, shop: str) -> None:
    credentials(tmp_path, postgres, shop)
    code, out, _ = await evbus(tmp_path, "check", "--json")
    (row,) = [row for row in json.loads(out) if row["profile"] == "postgres:shop"]
    assert code == 1
    assert row["problem"].startswith("there are no tables in the schema 'public'")
    postgres.sql(ddl.statements(), shop)
    code, out, _ = await evbus(tmp_path, "check")
    assert code == 0, out
    credentials(tmp_path, postgres, shop, partz=8)
    code, out, _ = await evbus(tmp_path, "check")
    assert code == 1
    assert "there is no option partz" in out


async def test_with_listen_an_event_comes_without_a_poll(
    hub: Any, start: Started, postgres: PostgreSQL, shop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evbus_like.postgres import relay

    monkeypatch.setattr(relay, "POLL", (600.0, 600.0))
    monkeypatch.setattr(relay, "LATE_EVERY", 600.0)
    sql = ddl.statements() + ddl.notify()
    postgres.sql(sql, shop)
    await start(
        {"internal": {"default": None}, "postgres": {"shop": {"connection": postgres.url(shop), "listen": True}}}
    )
    sessions = """select count(*) from pg_stat_activity where application_name = 'evbus_like listen'
        and state = 'idle' and datname = current_database() and query like 'LISTEN%'"""
    await gives(postgres, sessions, "1", shop)
    row = "insert into evbus_outbox (part, event_id, profile, routing_key, content_type, body) values"
    postgres.sql(f"{row} (1, 'by-hand', 'default', 'x', 'application/json', '1')", shop)
    event = await hub.ingress.internal.mailbox("x").get_event()
    assert (event.id, event.body) == ("by-hand", b"1")


def test_psql_reports_what_is_wrong(postgres: PostgreSQL) -> None:
    with pytest.raises(BrokerError, match="syntax"):
        postgres.sql("selec 1")


async def test_events_of_a_database_that_are_sent_later_are_listed_and_cancelled(
    hub: Any, start: Started, tmp_path: Path, postgres: PostgreSQL, shop: str
) -> None:
    postgres.sql(ddl.statements(), shop)
    await start(credentials(tmp_path, postgres, shop))
    async with await psycopg.AsyncConnection.connect(postgres.url(shop)) as conn:
        first, second = [await hub.evbus.broker.put("x", 1, within=conn, delay=3600 + more) for more in (0, 1)]
    code, out, _ = await evbus(tmp_path, "outbox", "scheduled", "--json")
    found = json.loads(out)
    assert (code, found["scheduled"]) == (0, 2)
    assert [(each["id"], each["place"]) for each in found["events"]] == [
        (first.id, "postgres:shop"),
        (second.id, "postgres:shop"),
    ]
    assert abs(found["events"][0]["due"] - first.due) < 60
    assert "2 events to be sent later, the first at" in (await evbus(tmp_path, "db", "status"))[1]
    code, out, err = await evbus(tmp_path, "outbox", "cancel", first.id, "nobody")
    assert (code, out) == (1, "1 event cancelled\n")
    assert "no event nobody is to be sent later in postgres:shop" in err
    assert postgres.sql("select event_id from evbus_scheduled", shop) == f"{second.id}\n"

"""The relay's statements on a real PostgreSQL: what they read at once, and what they delete."""

from collections.abc import AsyncIterator

import psycopg
import pytest

from evbus_like.postgres import ddl
from evbus_like.postgres.database import BATCH, Database
from evbus_like.postgres.progress import columns
from evbus_like.postgres.rows import BODY
from evbus_like.postgres.table import MANY, Table
from tests.brokers.postgres import PostgreSQL

ROW = (
    "insert into evbus_outbox (part, event_id, profile, routing_key, content_type, body)"
    " select {part}, '{letter}' || n, 'default', 'x', 't', convert_to(repeat('x', {size}), 'UTF8')"
    " from generate_series(1, {count}) n"
)
COUNT = 3 * MANY


@pytest.fixture
def shop(postgres: PostgreSQL) -> str:
    name = postgres.database()
    postgres.sql(ddl.statements(), name)
    return postgres.url(name)


@pytest.fixture
async def table(shop: str) -> AsyncIterator[Table]:
    table = Table(Database("shop", shop))
    await table.open()
    yield table
    await table.close()


def insert(conn: psycopg.Connection, count: int, part: int = 0, letter: str = "e", size: int = 1) -> None:
    conn.execute(ROW.format(part=part, letter=letter, size=size, count=count))  # type: ignore[call-overload]


def left(shop: str) -> list[str]:
    with psycopg.connect(shop) as conn:
        return [row[0] for row in conn.execute("select event_id from evbus_outbox order by id")]


def delivered(shop: str) -> dict[int, int]:
    with psycopg.connect(shop) as conn:
        return dict(conn.execute("select part, delivered from evbus_part where delivered > 0").fetchall())


async def test_a_row_that_was_committed_late_is_not_deleted_with_those_around_it(shop: str, table: Table) -> None:
    with psycopg.connect(shop) as early, psycopg.connect(shop) as late:
        insert(early, COUNT)
        insert(late, 1, letter="late")
        insert(early, COUNT, letter="f")
        early.commit()
        rows = await table.read({0: 0})
        assert len(rows) == 2 * COUNT
        late.commit()
    await table.delete(columns(row[:3] for row in rows), [])
    assert left(shop) == ["late1"]
    assert delivered(shop) == {0: 2 * COUNT}


async def test_a_row_that_is_not_settled_is_not_deleted_with_those_around_it(shop: str, table: Table) -> None:
    with psycopg.connect(shop) as conn:
        insert(conn, COUNT)
        insert(conn, COUNT, part=1)
    keys = [row[:3] for row in await table.read({0: 0, 1: 0})]
    kept = keys.pop(COUNT // 2)
    await table.delete(columns(keys), [], 1)
    assert left(shop) == [kept[2]]
    assert delivered(shop) == {0: COUNT - 1, 1: COUNT}


async def test_a_row_that_another_event_has_taken_the_id_of_is_not_deleted(shop: str, table: Table) -> None:
    """After a backup was restored, new events get the ids of those that came after it."""
    with psycopg.connect(shop) as conn:
        insert(conn, COUNT)
    keys = [row[:3] for row in await table.read({0: 0})]
    with psycopg.connect(shop) as conn:
        conn.execute("truncate evbus_outbox restart identity")
        insert(conn, 1, letter="new")
        insert(conn, COUNT - 1)
    await table.delete(columns(keys), [])
    assert "new1" in left(shop)


async def test_rows_that_are_deleted_already_are_not_counted_again(shop: str, table: Table) -> None:
    with psycopg.connect(shop) as conn:
        insert(conn, COUNT)
    keys = [row[:3] for row in await table.read({0: 0})]
    await table.delete(columns(keys[: COUNT // 2]), [])
    await table.delete(columns(keys), [])
    assert left(shop) == []
    assert delivered(shop) == {0: COUNT}


@pytest.mark.parametrize("size", [100, 5_000, 100_000, 3_000_000])
async def test_large_bodies_are_read_whole_and_few_at_once(shop: str, table: Table, size: int) -> None:
    with psycopg.connect(shop) as conn:
        insert(conn, 20, letter="a")
        insert(conn, 20, letter="b", size=size)
        insert(conn, 20, letter="c")
    lasts, ids = dict.fromkeys(range(8), 0), []
    while rows := await table.read(lasts):
        lasts[0] = rows[-1][1]
        ids += [row[2] for row in rows]
        sizes = [len(row[BODY]) for row in rows]
        assert set(sizes) <= {1, size}
        assert sum(sizes) - max(sizes) <= 2 * 1024 * 1024
    assert ids == [f"{letter}{n}" for letter in "abc" for n in range(1, 21)]


async def test_at_most_a_batch_of_each_part_is_read_at_once(shop: str, table: Table) -> None:
    with psycopg.connect(shop) as conn:
        insert(conn, BATCH + 1)
        insert(conn, 5, part=1)
    rows = await table.read({0: 0, 1: 0})
    assert [row[0] for row in rows] == [0] * BATCH + [1] * 5
    assert [row[1] for row in rows[:BATCH]] == sorted(row[1] for row in rows[:BATCH])

"""The tables in the application's database: the SQL of `evbus_like/postgres/ddl.py` on a real server."""

import pytest

from evbus_like.postgres import ddl
from tests.brokers.postgres import PostgreSQL


def test_the_sql_makes_the_tables_in_a_schema_of_its_own(postgres: PostgreSQL) -> None:
    name = postgres.database()
    postgres.sql(ddl.statements('our "shop"', parts=4), name)
    ours = '"our ""shop"""'
    assert postgres.sql(f"select count(*) from {ours}.evbus_part", name) == "4\n"
    assert postgres.sql(f"select version, parts from {ours}.evbus_schema", name) == f"{ddl.LATEST}|4\n"


def test_two_applications_have_their_tables_in_one_database(postgres: PostgreSQL) -> None:
    name = postgres.database()
    for schema in ("shop", "stock"):
        postgres.sql(ddl.statements(schema), name)
    ids = "select count(distinct id) from (table shop.evbus_schema union table stock.evbus_schema) t"
    assert postgres.sql(ids, name) == "2\n"


@pytest.mark.parametrize("schema", ["", "a\0b", "x" * 64, "ä" * 32])
def test_a_name_that_no_schema_can_have_is_refused(schema: str) -> None:
    with pytest.raises(ValueError, match="schema"):
        ddl.statements(schema)


@pytest.mark.parametrize(("parts", "after"), [(0, 0), (1025, 0), (8, -1), (8, ddl.LATEST + 1)])
def test_numbers_that_cannot_be_are_refused(parts: int, after: int) -> None:
    with pytest.raises(ValueError, match=r"parts|version"):
        ddl.statements(parts=parts, after=after)


def test_there_is_nothing_to_do_after_the_latest_version() -> None:
    assert ddl.statements(after=ddl.LATEST) == ""

"""engine/outbox/row.py: the event of a dead letter as a row and back, with nothing changed."""

import math
import sqlite3

import pytest
from hypothesis import given

from evbus_like.engine.errors import BadEvent
from evbus_like.engine.outbox.row import BODY, COLUMNS, SIZE, is_sound, pack, unpack
from evbus_like.engine.outbox.schema import CREATE, DEAD, EVENT
from tests.unit.fakes import same
from tests.unit.outboxes import content, events, make


def through_sqlite(row):
    connection = sqlite3.connect(":memory:")
    for statement in CREATE:
        connection.execute(statement)
    connection.execute(
        f"INSERT INTO dead ({', '.join(DEAD)}, {EVENT}) VALUES ('', '', '', 0, 0, 0, {', '.join('?' * len(row))})", row
    )
    found = connection.execute(f"SELECT {EVENT} FROM dead").fetchone()
    connection.close()
    return found


@given(events)
def test_an_event_comes_back_as_it_was(event):
    row = through_sqlite(pack(event))
    found = unpack(row)

    assert is_sound(row)
    assert content(found)[:3] == content(event)[:3]
    assert same(found.headers, event.headers)
    assert same(list(content(found)[4:]), list(content(event)[4:]))
    assert found.receipt is None
    assert found.quiet is False


def test_nan_infinity_and_minus_zero_stay_what_they_are_in_headers():
    headers = {"nan": math.nan, "inf": -math.inf, "zero": -0.0, "one": 1, "true": True, "float": 1.0}

    assert same(unpack(through_sqlite(pack(make(headers=headers)))).headers, headers)


def test_a_quiet_event_is_not_quiet_after_a_restart():
    assert unpack(pack(make(quiet=True))).quiet is False


def test_the_places_of_size_and_body_are_right():
    row = pack(make(b"xyz"))

    assert (COLUMNS[SIZE], COLUMNS[BODY], row[BODY]) == ("size", "body", b"xyz")
    assert row[SIZE] > 3


@pytest.mark.parametrize("name", ["routing_key", "profile", "key", "content_type"])
def test_text_that_is_no_utf8_is_refused_by_name(name):
    with pytest.raises(BadEvent, match=f"{name} '.udc00' holds a lone surrogate"):
        pack(make(**{name: "\udc00"}))


def test_the_size_counts_everything_that_is_stored():
    small, large = pack(make()), pack(make(b"x" * 1000, headers={"h": "y" * 500}, key=b"z" * 100))

    assert large[SIZE] - small[SIZE] >= 1590


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("id", ""),
        ("id", b"x"),
        ("routing_key", 1),
        ("headers", b"\xc1"),
        ("headers", "text"),
        ("headers", b"\x01"),
        ("key", 1.5),
        ("timestamp", "now"),
        ("size", 1.5),
        ("body", "text"),
        ("body", None),
    ],
)
def test_a_garbled_row_is_known_as_one(column, value):
    row = list(pack(make(headers={"a": 1})))
    assert is_sound(row)
    row[COLUMNS.index(column)] = value

    assert not is_sound(row)

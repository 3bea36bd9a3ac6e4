"""amqp/codec.py and amqp/properties.py: they read what pamqp writes, and never raise, whatever the bytes."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands
from pamqp import encode as pamqp_encode

from evbus_like.amqp import codec
from evbus_like.amqp.properties import CONTENT_TYPE, MESSAGE_ID, Properties, encode

NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
PLAIN = st.one_of(
    st.text(st.characters(codec="utf-8")),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False, width=32),
    st.booleans(),
    st.none(),
)
VALUES = st.recursive(
    PLAIN, lambda deeper: st.lists(deeper, max_size=3) | st.dictionaries(NAMES, deeper, max_size=3), max_leaves=8
)
TABLES = st.dictionaries(NAMES, VALUES, max_size=5)


def table(values):
    return pamqp_encode.field_table(values)[4:]


@given(TABLES)
def test_a_table_is_read_as_it_was_written(values):
    assert codec.read_table(table(values)) == values


@given(TABLES)
def test_the_entries_of_a_table_are_its_own_bytes(values):
    raw = table(values)
    found = list(codec.entries(raw))
    assert b"".join(entry for _, entry in found) == raw
    assert {name for name, _ in found} == set(values)


@given(st.binary(max_size=200))
def test_bytes_that_are_not_a_table_raise_nothing(raw):
    assert isinstance(codec.read_table(raw), dict)


@given(st.binary(max_size=200))
def test_bytes_that_are_not_properties_raise_nothing(raw):
    read = Properties(raw)
    assert isinstance(read.headers, dict)
    assert isinstance(read.text(MESSAGE_ID), str)
    assert isinstance(read.timestamp, float)
    encode(read.copied)


@given(TABLES, st.integers(0, 200))
def test_of_a_truncated_table_the_complete_entries_are_read(values, cut):
    whole = codec.read_table(table(values))
    for name, value in codec.read_table(table(values)[:cut]).items():
        assert whole.get(name, value) == value or isinstance(value, bytes | str)


def test_the_depth_of_nested_tables_is_limited():
    raw = b"\x01aV"
    for _ in range(codec.DEEPEST + 5):
        raw = b"\x01aF" + len(raw).to_bytes(4, "big") + raw
    assert codec.read_table(raw) == {}


def made(**properties):
    return commands.Basic.Properties(**properties).marshal()


ALL = {
    "content_type": "application/json",
    "content_encoding": "utf-8",
    "headers": {"a": 1, "b": [1, "x"]},
    "delivery_mode": 1,
    "priority": 4,
    "correlation_id": "corr",
    "reply_to": "reply",
    "expiration": "60000",
    "message_id": "id",
    "timestamp": datetime(2026, 1, 2, tzinfo=UTC),
    "message_type": "type",
    "user_id": "guest",
    "app_id": "app",
}


def test_properties_are_read_whatever_comes_before_them():
    read = Properties(made(**ALL))
    assert (read.text(CONTENT_TYPE), read.text(MESSAGE_ID)) == ("application/json", "id")
    assert read.timestamp == ALL["timestamp"].timestamp()
    assert read.headers == {"a": 1, "b": [1, "x"]}

"""postgres/rows.py and inbox.py: an event as the columns of a table, and back; ids as the table can hold them."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from evbus_like.engine.errors import BadEvent
from evbus_like.engine.event import SERVICE_HEADER, Event
from evbus_like.postgres import inbox, rows

VALUES = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.binary(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=3),
)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda name: name != SERVICE_HEADER)


def row(routing_key="placed", body=b"{}", profile="default", headers=None, key=None, parts=8):
    event = Event(routing_key, body, profile, headers, key)
    event.content_type = "application/json"
    return dict(zip(rows.COLUMNS, rows.values(event, parts), strict=True))


@given(st.dictionaries(NAMES, VALUES, max_size=4), st.sampled_from([None, "orders", "ürsprung"]))
def test_headers_come_back_as_they_were_put(headers, service):
    given_headers = {**headers, **({SERVICE_HEADER: service} if service else {})}
    made = row(headers=given_headers)
    assert made["service"] == service
    assert rows.headers_of(made["service"], made["headers"]) == (given_headers or None)


@given(st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"])), st.binary()))
def test_a_key_comes_back_as_it_was_put_or_as_text_if_it_is_utf_8(key):
    found = rows.key_of(row(key=key)["key"])
    assert found == key or (isinstance(key, bytes) and found == key.decode())


def test_events_of_one_key_and_those_without_a_key_of_one_routing_key_are_in_one_part():
    assert len({row(f"kind {number}", key="one")["part"] for number in range(20)}) == 1
    assert len({row("placed")["part"] for _ in range(20)}) == 1
    assert {row(key=str(number))["part"] for number in range(200)} == set(range(8))
    assert row(key="one", parts=1)["part"] == 0


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("profile", {"profile": "a\0b"}),
        ("routing_key", {"routing_key": "a\0b"}),
        ("service", {"headers": {SERVICE_HEADER: "a\0b"}}),
    ],
)
def test_a_nul_that_postgresql_cannot_store_is_refused_at_the_put(name, facts):
    with pytest.raises(BadEvent, match=f"{name} 'a\\\\x00b' has a NUL character, which PostgreSQL cannot store"):
        row(**facts)


@pytest.mark.parametrize(
    "text",
    [
        *("[1]", '"text"', "1", "null", "{", ""),
        *('{"a": {"bytes": 1}}', '{"a": {"bytes": "AA==", "b": ""}}', '{"a": {}}'),
        *('{"a": {"bytes": "ä"}}', '{"a": {"bytes": "A"}}', '{"a": {"bytes": "*AA=="}}'),
    ],
)
def test_a_row_whose_headers_somebody_has_changed_to_something_else_is_a_value_error(text):
    with pytest.raises(ValueError):  # noqa: PT011 - also those of the JSON library
        rows.headers_of(None, text)


@given(st.text(max_size=300))
@example("x" * 255)
@example("x" * 300)
@example("nul\0")
@example("lone\ud800")
def test_any_id_has_a_form_that_postgresql_can_hold_and_different_ids_have_different_forms(event_id):
    found = inbox.key_of(event_id)
    assert len(found) <= inbox.MOST_ID
    assert "\0" not in found
    found.encode()
    assert found == event_id or found.startswith("sha256:")
    assert inbox.key_of(event_id + "x") != found

"""engine/handling.py: what is passed on of a received event has bounds, and may always be sent."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evbus_like.engine import handling
from evbus_like.engine.event import check
from evbus_like.engine.handling import Handling
from evbus_like.engine.receiving.received import ReceivedEvent

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def passed_on(headers, id="event-1"):
    """Return the headers that the handler of such an event adds to what it puts."""
    return Handling(ReceivedEvent(b"", "placed", "orders", id, headers), "shipping.ship").headers


def test_nameko_s_headers_are_passed_on_up_to_a_size_and_the_largest_is_left_out_first():
    given = {"nameko.small": "a", "nameko.large": "b" * 8000, "nameko.medium": "c" * 4000, "nameko.huge": b"d" * 9000}
    kept = passed_on(given)
    assert kept["nameko.small"] == "a"
    assert kept["nameko.medium"] == "c" * 4000
    assert {"nameko.large", "nameko.huge"}.isdisjoint(kept)


@pytest.mark.parametrize("name", ["correlation-id", "traceparent", "tracestate", "nameko.user"])
def test_a_header_of_a_megabyte_is_not_passed_on(name):
    kept = passed_on({"traceparent": TRACE, name: "x" * 2**20})
    assert "x" * 300 not in str(kept)
    assert kept["correlation-id"] == "event-1"


def test_an_id_of_a_megabyte_is_not_passed_on():
    assert passed_on({}, id="x" * 2**20) == {}


def test_the_stack_of_calls_keeps_its_latest_entries_and_none_that_is_absurd():
    calls = [f"front.call.{number}" for number in range(20)] + ["y" * 1000, {"a": [1]}, None]
    assert passed_on({"nameko.call_id_stack": calls})["nameko.call_id_stack"] == [
        *[f"front.call.{number}" for number in range(14, 20)],
        "shipping.ship.event-1",
    ]


@pytest.mark.parametrize("stack", ["a.b.1,c.d.2", b"a.b.1,c.d.2", ["a.b.1", b"c.d.2"]])
def test_the_stack_of_calls_may_be_a_list_or_text(stack):
    assert passed_on({"nameko.call_id_stack": stack})["nameko.call_id_stack"][:2] == ["a.b.1", "c.d.2"]


VALUES = st.recursive(
    st.one_of(st.text(), st.text().map(lambda text: text * 500), st.binary(), st.integers(), st.floats(), st.none()),
    lambda deeper: st.lists(deeper, max_size=15) | st.dictionaries(st.text(), deeper, max_size=3),
    max_leaves=20,
)
NAMES = st.sampled_from(
    ["correlation-id", "causation-id", "traceparent", "tracestate", "nameko.call_id_stack", "nameko.a", "nameko.b"]
)


@settings(max_examples=2 * settings().max_examples)
@given(st.dictionaries(NAMES | st.text().map("nameko.".__add__), VALUES, max_size=8), st.text(max_size=400))
def test_whatever_an_event_has_what_is_passed_on_may_be_sent_and_is_small(headers, id):
    kept = passed_on(headers, id)
    check("", "", kept, None)
    size = sum(len(str(name).encode()) + len(str(value).encode()) for name, value in kept.items())
    assert size <= 2 * handling.MOST_CARRIED + handling.MOST_CALLS * 2 * handling.MOST_ID

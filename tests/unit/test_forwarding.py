"""Dead letters that go to another profile: in a form that it takes, marked if something is cut."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evbus_like.engine.dead_letter_headers import CUT, DESTINATION, REASON, undeliverable
from evbus_like.engine.errors import PoisonEvent
from evbus_like.engine.event import SERVICE_HEADER, Event, header_bytes
from evbus_like.engine.sending.destination import Asks, LaneOptions
from evbus_like.engine.sending.forwarding import fitted
from evbus_like.engine.sending.lane import Lane
from tests.unit.fakes import Destination, entry, running, until


async def letter_of(headers, body="b", **limits):
    """Put an event that is given up, and give the dead letter that a profile with these limits gets, and the bus."""
    failing, graveyard = Destination(publish=[[PoisonEvent("no queue wants it")]]), Destination()
    entries = [
        entry(failing, "fake:orders", lambda profile: profile == "orders", dead_letter="failed"),
        entry(graveyard, "fake:failed", lambda profile: profile == "failed", **limits),
    ]
    async with running(*entries) as bus:
        await bus.putter.put("k", body, "orders", headers=headers)
        await until(lambda: bus.bus.account().dead_lettered == 1)
        await bus.stop()
    return graveyard.events, bus


async def test_the_largest_headers_of_a_dead_letter_are_left_out_until_it_fits():
    headers = {"tenant": "blue", "trace": "x" * 2000, "other": "y" * 500}
    (letter,), _ = await letter_of(headers, max_header_bytes=1200)
    assert letter.body == b'"b"'
    assert letter.headers["tenant"] == "blue"
    assert letter.headers[REASON] == "no queue wants it"
    assert letter.headers[CUT] == "headers 1"
    assert "trace" not in letter.headers


async def test_a_dead_letter_that_fits_is_whole_and_not_marked():
    (letter,), _ = await letter_of({"trace": "x" * 2000}, max_header_bytes=4000)
    assert letter.headers["trace"] == "x" * 2000
    assert CUT not in letter.headers


async def test_a_header_that_the_other_destination_acts_on_is_left_out():
    (letter,), _ = await letter_of({"CC": "everybody", "tenant": "blue"}, reserved_headers=("CC", "BCC"))
    assert "CC" not in letter.headers
    assert (letter.headers["tenant"], letter.headers[CUT]) == ("blue", "headers 1")


async def test_a_body_that_is_too_large_is_left_out_where_nothing_would_keep_it():
    (letter,), _ = await letter_of({"tenant": "blue"}, "x" * 500, max_event_bytes=100)
    assert (letter.body, letter.headers[CUT]) == (b"", "body 502 -> 0; headers 1")


async def test_a_dead_letter_that_fits_in_no_form_is_reported():
    letters, bus = await letter_of({"tenant": "blue"}, max_header_bytes=10)
    assert letters == []
    assert [str(failure.exception) for failure in bus.failures] == ["no queue wants it"]


async def test_what_a_destination_has_learnt_that_it_does_not_take_is_left_out_of_its_dead_letters():
    class Strict(Destination):
        asks = Asks(lambda event: "no tenants" if "tenant" in event.headers else None)

    event = Event("k", b"1", "p", {"tenant": "blue"})
    lane = Lane("fake:failed", Strict(), LaneOptions(), lambda failure: None)
    letter = fitted(event, "failed", undeliverable(event, "fake:a", "why", "PoisonEvent", 1, 0.0), [lane])
    assert letter is not None
    assert (letter.headers or {})[CUT] == "headers 1"


NAMES = st.text("abcdé", min_size=1, max_size=30)
VALUES = st.text(max_size=200) | st.integers(-(2**63), 2**63 - 1) | st.binary(max_size=200) | st.none()
LIMITS = st.fixed_dictionaries(
    {}, optional={"max_header_bytes": st.integers(1, 3000), "max_event_bytes": st.integers(1, 300)}
)


@given(
    st.dictionaries(NAMES | st.sampled_from(["CC", SERVICE_HEADER]), VALUES, max_size=12),
    st.binary(max_size=400),
    st.text(max_size=1500),
    st.lists(LIMITS, min_size=1, max_size=3),
)
def test_a_dead_letter_keeps_the_limits_of_all_its_destinations_and_what_it_lacks_is_marked(
    headers, body, reason, limits
):
    event = Event("k", body, "p", headers)
    why = undeliverable(event, "fake:a", reason, "PoisonEvent", 3, 0.0)
    options = [LaneOptions(reserved_headers=("CC",), **each) for each in limits]
    lanes = [Lane(f"fake:{number}", Destination(), each, lambda failure: None) for number, each in enumerate(options)]
    letter = fitted(event, "failed", why, lanes)
    smallest = min(lane.max_header_bytes for lane in lanes)
    if letter is None:
        assert smallest < 400, "any other destination takes what marks a dead letter"
        return
    assert sum(header_bytes(*each) for each in (letter.headers or {}).items()) <= smallest
    assert len(letter.body) <= min(lane.max_event_bytes for lane in lanes)
    found = letter.headers or {}
    assert DESTINATION in found
    assert not {"CC", SERVICE_HEADER} & found.keys()
    whole = letter.body == body and {**headers, **why}.keys() - {"CC", SERVICE_HEADER} <= found.keys()
    assert (CUT in found) == (not whole or "CC" in headers)


@pytest.mark.parametrize("reason", ["x" * 5000, "\U0001f4a3" * 5000])
def test_a_long_reason_alone_makes_no_letter_too_large(reason):
    event = Event("k", b"", "p")
    lane = Lane("fake:failed", Destination(), LaneOptions(max_header_bytes=500), lambda failure: None)
    letter = fitted(event, "failed", undeliverable(event, "fake:a", reason, "PoisonEvent", 1, 0.0), [lane])
    assert letter is not None
    assert DESTINATION in (letter.headers or {})


async def test_a_dead_letter_that_comes_during_a_stop_is_delivered_by_it():
    class Slow(Destination):
        async def publish(self, events):
            await asyncio.sleep(0.01)  # the other lane's work is done by then
            return await super().publish(events)

    failing, graveyard = Slow(publish=[[PoisonEvent("no queue wants it")]]), Destination()
    entries = [
        entry(graveyard, "fake:failed", lambda profile: profile == "failed"),
        entry(failing, "fake:orders", lambda profile: profile == "orders", dead_letter="failed"),
    ]
    async with running(*entries) as bus:
        await until(lambda: failing.is_open and graveyard.is_open)
        bus.putter.put_nowait("k", 1, "orders")
        account = await bus.stop()
    assert (account.dead_lettered, account.delivered, account.remaining) == (1, 1, 0)
    assert bus.failures[0].final

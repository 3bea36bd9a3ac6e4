"""engine/sending/lane.py: one destination's queue, its bounds and its account."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evbus_like.engine.errors import PoisonEvent
from evbus_like.engine.event import Event
from evbus_like.engine.receipt import DELIVERED, Receipt
from tests.unit.fakes import entry


def event(body=b"x"):
    return Event("k", body, "p")


def offer(lane, *bodies):
    lane.extend([event(body) for body in bodies], sum(map(len, bodies)))


async def test_it_is_full_by_events_or_by_bytes():
    by_events, by_bytes = entry(max_events=2).lane, entry(max_bytes=10).lane
    offer(by_events, b"x")
    offer(by_bytes, b"x" * 9)
    assert not by_events.full
    assert not by_bytes.full

    offer(by_events, b"x")
    offer(by_bytes, b"x")

    assert by_events.full
    assert by_bytes.full


@pytest.mark.parametrize("leave", [lambda lane: lane.deliver(1), lambda lane: lane.dead_letter(PoisonEvent("x"), 1)])
async def test_what_leaves_makes_room(leave):
    lane = entry(max_events=2, max_bytes=2).lane
    lane.room = asyncio.Event()
    offer(lane, b"x", b"y")

    leave(lane)

    assert not lane.full
    assert lane.room.is_set()
    assert (lane.bytes, len(lane.queue)) == (1, 1)


@given(sizes=st.lists(st.integers(0, 30), max_size=20), most=st.integers(1, 8), bound=st.integers(1, 50))
async def test_a_batch_is_the_longest_start_of_the_queue_within_its_bounds(sizes, most, bound):
    lane = entry(batch_events=5, batch_bytes=bound).lane
    offer(lane, *(b"x" * size for size in sizes))

    batch = lane.head(most)

    count = len(batch)
    assert batch == list(lane.queue)[:count]
    assert count <= min(most, 5)
    assert sum(sizes[:count]) <= bound or count == 1
    assert count == min(most, 5, len(sizes)) or sum(sizes[: count + 1]) > bound


async def test_every_event_is_in_the_account_exactly_once():
    lane = entry().lane
    offer(lane, b"1", b"2", b"3", b"4")
    lane.deliver(2)
    lane.dead_letter(PoisonEvent("bad"), 1)

    account = lane.account()

    assert (account.accepted, account.delivered, account.dead_lettered, account.remaining) == (4, 2, 1, 1)
    assert account.balanced


async def test_an_account_that_was_given_does_not_change_any_more():
    lane = entry().lane
    offer(lane, b"1")
    before = lane.account()

    lane.deliver(1)

    assert (before.delivered, before.remaining) == (0, 1)


async def test_what_was_set_aside_comes_back_in_its_order():
    lane = entry().lane
    offer(lane, b"1", b"2", b"3")

    lane.put_back([lane.pop_head(), lane.pop_head()])

    assert [each.body for each in lane.queue] == [b"1", b"2", b"3"]


async def test_receipts_hear_what_became_of_their_events():
    lane = entry(name="a").lane
    receipts = []
    for _ in range(3):
        one = event()
        one.attach(Receipt(one.id, ("a",)))
        receipts.append(one.receipt)
        lane.extend([one], 1)

    lane.deliver(1)
    lane.dead_letter(PoisonEvent("bad"), 1)
    lane.close()

    outcomes = [receipt.outcomes["a"] for receipt in receipts]
    assert outcomes[0] == DELIVERED
    assert str(outcomes[1]) == "bad"
    assert "the bus was stopped first" in str(outcomes[2])

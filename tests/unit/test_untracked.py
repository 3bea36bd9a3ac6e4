"""Events that the garbage collector passes over are part of no cycle, and none of them is ever left over."""

import asyncio
import gc
import sys
import weakref
from contextlib import suppress

import pytest

from evbus_like import speedups
from evbus_like.engine.errors import PoisonEvent, SerializeError
from evbus_like.engine.event import FIELDS, Event, EventFields, untrack
from evbus_like.engine.failure import Failure
from evbus_like.engine.receipt import Receipt
from tests.unit.fakes import Destination, entry, running, until

PUTS = 200
GIVEN = "id-", 31, "key", {"a": 1}, "profile", {"h": 1}, "k", True
BOTH = pytest.mark.parametrize("kind", [speedups.TWINS["EventFields"], EventFields], ids=["Python", "fastest"])
in_c = pytest.mark.skipif(not speedups.IN_C, reason="all events are tracked without C")


class Marker(Exception):
    """Can be referred to weakly."""


def values(event):
    return [getattr(event, name) for name in FIELDS]


@BOTH
def test_a_new_event_has_what_it_was_given_and_nothing_else(kind):
    made, filled = kind.make(*GIVEN), kind()
    filled.fill(*GIVEN)

    assert (
        values(made)
        == values(filled)
        == [{"a": 1}, "", {"h": 1}, "id-1f", "k", None, "profile", True, None, "key", 0, 0, 0.0]
    )
    assert [type(value) for value in values(made)][-3:] == [int, int, float]
    assert made.headers is GIVEN[5]


@BOTH
@pytest.mark.parametrize("number", [0, 1, 0xF0, 0xFFFFFFFF, 2**32, 2**64 - 1])
def test_an_id_ends_with_the_number_in_hexadecimal(kind, number):
    assert kind.make("é-", number, *GIVEN[2:]).id == f"é-{number:x}"


@BOTH
@pytest.mark.parametrize("given", [(), GIVEN[:-1], (*GIVEN, 1)])
def test_too_few_or_too_many_values_make_no_event(kind, given):
    with pytest.raises(TypeError):
        kind.make(*given)
    with pytest.raises(TypeError):
        kind().fill(*given)


@BOTH
def test_an_event_that_was_never_filled_has_no_fields(kind):
    with pytest.raises(AttributeError):
        kind().body  # noqa: B018
    kind().attach(None)


@in_c
def test_a_receipt_can_only_be_attached():
    with pytest.raises(AttributeError):
        Event.make(*GIVEN).receipt = Receipt("id")


@in_c
@pytest.mark.parametrize("body", ["text", b"bytes", 1, None])
def test_an_event_of_plain_values_is_not_tracked(body):
    assert not gc.is_tracked(Event.make("id-", 1, "k", body, "p", None, None, False))


def test_an_event_is_tracked_as_its_body_is():
    assert gc.is_tracked(Event.make("id-", 1, "k", [[]], "p", None, None, False))


@in_c
def test_an_event_is_no_longer_tracked_once_its_body_is_serialized_unless_it_has_a_receipt():
    plain, awaited, raw = (Event.make("id-", 1, "k", [[]], "p", None, None, False) for _ in range(3))
    plain.body = awaited.body = b"[[]]"
    awaited.attach(Receipt(awaited.id))

    untrack([plain, awaited, raw, object(), Event.__new__(Event)])
    untrack(())

    assert [gc.is_tracked(event) for event in (plain, awaited, raw)] == [False, True, True]


def by_its_body(event, marker):
    body = event.body = [marker, event]
    untrack([event])
    assert body


def by_its_receipt(event, marker):
    receipt = Receipt(event.id)
    receipt.answers["kafka:p"] = marker, event
    event.attach(receipt)


def by_a_failure(event, marker):
    failure = Failure(marker, event)
    event.body = {"failure": failure}


@pytest.mark.parametrize("lead_back", [by_its_body, by_its_receipt, by_a_failure])
def test_an_event_that_leads_back_to_itself_is_collected(lead_back):
    event, marker = (
        Event.make("id-", 1, "k", [[]] if lead_back is by_its_body else "text", "p", None, None, False),
        Marker(),
    )
    there = weakref.ref(marker)
    lead_back(event, marker)
    del event, marker
    gc.collect()

    assert there() is None


def poison(events):
    return [PoisonEvent("no") for _ in events]


async def put(bus):
    for n in range(PUTS):
        bus.putter.put_nowait("k", {"n": n})
        await bus.putter.put("k", {"n": [n]}, headers={"a": ["b"]})


async def put_what_cannot_be_serialized(bus):
    for _ in range(PUTS):
        bus.putter.put_nowait("k", {"n": object()})
        with suppress(SerializeError):
            await bus.putter.put("k", {"n": {1}})
    await until(lambda: len(bus.failures) >= PUTS)
    assert all(failure.event.body for failure in bus.failures)


async def put_what_is_refused(bus):
    destination = bus.lanes[0].destination
    for n in range(PUTS):
        destination.script["publish"].append(poison)
        with suppress(Exception):
            await bus.putter.put("k", n, confirm="delivered")
    assert len(bus.failures) == PUTS


async def put_and_cancel(bus):
    bus.lanes[0].destination.script["publish"].append("hang")
    puts = [asyncio.create_task(bus.putter.put("k", [n], confirm="delivered")) for n in range(PUTS)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for each in puts:
        each.cancel()
    await asyncio.wait(puts)


@pytest.mark.parametrize("way", [put, put_what_cannot_be_serialized, put_what_is_refused, put_and_cancel])
async def test_no_event_is_left_over(way):
    async def blocks():
        """Return how many blocks of memory there are after a bus has run and is gone."""
        async with running(entry(Destination())) as bus:
            await way(bus)
        del bus
        gc.collect()
        return sys.getallocatedblocks()

    for _ in range(2):
        await blocks()
    before = await blocks()
    assert await blocks() < before + PUTS

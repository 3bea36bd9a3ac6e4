"""What put refuses before anything is queued: headers that a destination has said that it does not take."""

import math

import pytest

from evbus_like.engine.errors import BadEvent
from evbus_like.engine.event import MAX_CARRIED, check, header_bytes
from evbus_like.engine.handling import Handling, handling
from evbus_like.engine.receiving.received import ReceivedEvent
from tests.unit.fakes import Destination, entry, running


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_header_that_is_no_finite_number_is_refused(value):
    with pytest.raises(BadEvent, match=f"header 'price' is {value}"):
        check("", "default", {"price": value}, None)


@pytest.mark.parametrize("service", ["a\nb", "a\r", "\0"])
def test_a_service_with_a_line_break_is_refused(service):
    with pytest.raises(BadEvent, match="service"):
        check("", "default", {"evbus-service": service}, None)


def test_a_key_that_is_not_valid_utf8_is_refused():
    with pytest.raises(BadEvent, match="key"):
        check("", "default", None, "\ud800")


def test_the_size_of_headers_is_the_sum_of_their_names_and_values():
    headers = {"a": "x" * 10, "bb": b"y" * 20, "c": 1, "d": ["z", "zz"], "e": None}
    assert check("", "default", headers, None) == sum(header_bytes(*each) for each in headers.items())
    assert header_bytes("a", "ä") == 6 + 1 + 2


PUTS = {
    "put": lambda putter, headers: putter.put("k", 1, headers=headers),
    "put queued": lambda putter, headers: putter.put("k", 1, headers=headers, confirm="queued"),
    "put_nowait": lambda putter, headers: _now(putter.put_nowait, "k", 1, headers=headers),
    "dispatch": lambda putter, headers: putter.dispatch("shop", "sold", 1, headers=headers),
    "dispatch_nowait": lambda putter, headers: _now(putter.dispatch_nowait, "shop", "sold", 1, headers=headers),
}


async def _now(function, *arguments, **options):
    return function(*arguments, **options)


@pytest.mark.parametrize("put", PUTS.values(), ids=PUTS)
async def test_headers_beyond_what_a_destination_takes_are_refused_with_both_sizes(put):
    async with running(entry(max_header_bytes=1000)) as bus:
        with pytest.raises(BadEvent, match=r"headers are 2\d\d\d bytes .* in 'trace', and fake:default .* most 1000"):
            await put(bus.putter, {"tenant": "blue", "trace": "x" * 2000})
        await put(bus.putter, {"tenant": "blue", "trace": "x" * 800})
        account = await bus.stop()
    assert (account.delivered, bus.failures) == (1, [])


@pytest.mark.parametrize("put", PUTS.values(), ids=PUTS)
async def test_a_header_that_a_destination_acts_on_is_refused_by_name(put):
    async with running(entry(reserved_headers=("CC", "BCC"))) as bus:
        with pytest.raises(BadEvent, match="header 'BCC' is reserved by fake:default"):
            await put(bus.putter, {"BCC": ["a"]})
        await put(bus.putter, {"bcc": "a"})
        assert (await bus.stop()).delivered == 1


async def test_the_limits_of_a_destination_hold_for_its_own_events_alone():
    strict = entry(name="fake:strict", matches=lambda name: name == "strict", max_header_bytes=10)
    mild = entry(name="fake:mild", matches=lambda name: name != "strict")
    async with running(strict, mild) as bus:
        await bus.putter.put(headers={"a": "x" * 100})
        with pytest.raises(BadEvent, match="fake:strict"):
            await bus.putter.put(headers={"a": "x" * 100}, profile="strict")


async def test_headers_that_a_chain_of_events_carries_do_not_count():
    destination = Destination()
    received = ReceivedEvent(b"", id="1", headers={"nameko.trace": "x" * 900})
    async with running(entry(destination, max_header_bytes=1000)) as bus:
        token = handling.set(Handling(received, "shop.sell"))
        try:
            await bus.putter.put(headers={"own": "x" * 900})
            bus.putter.put_nowait(headers={"own": "x" * 900})
        finally:
            handling.reset(token)
        await bus.stop()
    assert [sorted(event.headers) for event in destination.events] == [
        ["causation-id", "correlation-id", "nameko.trace", "own"]
    ] * 2


def test_rabbitmq_leaves_room_in_its_frame_for_what_a_chain_carries():
    from evbus_like.ingress import amqp

    assert amqp.LANE["max_header_bytes"] + MAX_CARRIED + 1024 <= 131072

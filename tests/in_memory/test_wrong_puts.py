"""Wrong arguments of put and call are refused in a short message, also those that Python cannot print."""

import asyncio
from collections.abc import Mapping

import pytest

from evbus_like import errors
from evbus_like.testing import running

HUGE = 10**5000  # Python prints no int of more than 4300 digits
LONG = "x" * 100_000
WRONG = {
    "routing_key": [HUGE, LONG, None, b"x", "\ud800" * 5000],
    "profile": [HUGE, None, b"x"],
    "key": [HUGE, 1.5, [LONG], "\ud800" * 5000],
    "headers": [HUGE, LONG, {HUGE: 1}, {LONG: 1}, {"a": HUGE}, {"a": [HUGE]}, {"a": {HUGE: 1}}, {"\ud800" * 5000: 1}],
    "confirm": [HUGE, LONG, b"x", 1],
    "timeout": [HUGE, LONG, -1],
    "body": [HUGE, {HUGE: 1}, [HUGE], {LONG: object()}, {"\ud800" * 5000: 1}, {(HUGE,): 1}],
}


@pytest.mark.parametrize("name", WRONG)
async def test_a_wrong_argument_of_put_is_named_in_a_short_message(name):
    async with running() as hub:
        for value in WRONG[name]:
            with pytest.raises((errors.BadEvent, errors.SerializeError), match=name.rstrip("s")) as caught:
                await hub.evbus.broker.put(**{"routing_key": "k", "body": 1, "timeout": 5, name: value})
            assert len(str(caught.value)) < 400

        await hub.evbus.broker.put("k", 1)
        assert hub.evbus.init.account().delivered <= 1


async def test_a_long_name_of_a_profile_is_cut_in_the_log(caplog):
    async with running() as hub:
        await hub.evbus.broker.put("k", 1, profile=LONG)

    assert "no profile matches" in caplog.text
    assert len(caplog.text) < 10_000


@pytest.mark.parametrize("name", ["service", "method"])
async def test_a_wrong_name_of_a_call_is_refused_in_a_short_message(name):
    async with running() as hub:
        for value in (HUGE, LONG, None, b"x", ""):
            with pytest.raises(errors.BadRequest) as caught:
                await hub.evbus.rpc.call(**{"service": "shop", "method": "sell", name: value})
            assert len(str(caught.value)) < 400


class Mute(Exception):
    """An error whose text cannot be had."""

    def __str__(self):
        raise RuntimeError("no text")


class Hostile:
    """A body whose own code fails while it is serialized."""

    def __init__(self, error):
        self.error = error

    def __to_bus__(self):
        raise self.error


class HostileMapping(Hostile, Mapping):
    """A mapping that fails when it is read."""

    def __getitem__(self, key):
        raise self.error

    def __iter__(self):
        raise self.error

    def __len__(self):
        return 1


@pytest.mark.parametrize("kind", [Hostile, HostileMapping])
@pytest.mark.parametrize(
    "error", [SystemExit(3), GeneratorExit(), asyncio.CancelledError(), MemoryError(), Mute()], ids=repr
)
@pytest.mark.parametrize("serializers", [("json",), ("json", "msgpack")], ids="+".join)
async def test_a_body_whose_code_fails_in_any_way_is_refused_alone_and_the_bus_goes_on(kind, error, serializers):
    profiles = {name: {"serializer": each} for name, each in zip(("default", "d*"), serializers, strict=False)}
    async with running({"internal": profiles}) as hub:
        with pytest.raises(errors.SerializeError):
            await hub.evbus.broker.put("k", kind(error))
        hub.evbus.broker.put_nowait("k", kind(error))
        receipt = await hub.evbus.broker.put("k", 1, confirm="delivered", timeout=10)
        assert len(receipt.destinations) == len(serializers)
        assert hub.evbus.init.account().rejected == 2

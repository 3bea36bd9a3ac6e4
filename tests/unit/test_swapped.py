"""engine/sending/swapped.py: a put whose arguments look swapped goes where it says, and a warning names the profile."""

import pytest

from evbus_like.engine.sending.serializer import Serializer
from evbus_like.engine.sending.swapped import LOOKS
from tests.unit.fakes import entry, running, until


def profile(pattern, **options):
    """A profile with a pattern of one name, or of names that begin so."""
    begin = pattern.removesuffix("*")
    return entry(name=pattern, matches=lambda n: n.startswith(begin) if begin != pattern else n == pattern, **options)


def warnings(caplog):
    return [message for message in caplog.messages if "look swapped" in message]


@pytest.mark.parametrize("profiles", [["default", "orders"], ["orders"], ["def*", "other", "ord*"]])
@pytest.mark.parametrize("way", ["put", "put_nowait"])
async def test_a_put_as_in_pop_evbus_is_warned_of_once_for_each_name(caplog, profiles, way):
    async with running(*map(profile, profiles)) as bus:
        for _ in range(3):
            if way == "put":
                await bus.putter.put("a text", "orders")
            else:
                bus.putter.put_nowait("a text", "orders")
        await until(lambda: bus.bus.account().put == 3)

    (warning,) = warnings(caplog)
    assert "its body is 'orders', which is the name of a profile" in warning
    assert "write put(body=..., profile='orders')" in warning
    assert "a text" not in caplog.text  # it would be the body, and may be secret


async def test_a_profile_with_several_serializers_is_looked_at_too(caplog):
    text = Serializer("text", "text/plain", str.encode)
    async with running(profile("default"), profile("def*", serializer=text), profile("orders")) as bus:
        await bus.putter.put("a text", "orders")

    assert len(warnings(caplog)) == 1


@pytest.mark.parametrize(
    ("put", "profiles"),
    [
        ({"routing_key": "k", "body": "orders", "profile": "orders"}, ["default", "orders"]),
        ({"routing_key": "k", "body": "a text"}, ["default", "orders"]),
        ({"routing_key": "k", "body": "ordered at noon"}, ["default", "order*"]),
        ({"routing_key": "k", "body": {"to": "orders"}}, ["default", "orders"]),
        ({"body": "orders"}, ["default", "orders"]),
        ({"routing_key": "k", "body": "orders", "headers": {"a": 1}}, ["default", "orders"]),
        ({"routing_key": "k", "body": "orders"}, ["*"]),
    ],
)
async def test_other_puts_are_not_warned_of(caplog, put, profiles):
    async with running(*map(profile, profiles)) as bus:
        await bus.putter.put(**put)

    assert not warnings(caplog)


async def test_the_patterns_are_tried_for_few_texts_and_a_failing_one_harms_no_put():
    tried = []

    def matches(name):
        if name != "default":
            tried.append(name)
            raise TimeoutError("slow")
        return False

    async with running(profile("default"), entry(name="slow", matches=matches)) as bus:
        for number in range(10 * LOOKS):
            await bus.putter.put("k", f"text{number}")
        account = await bus.stop()

    assert account.delivered == 10 * LOOKS
    assert len(tried) == LOOKS

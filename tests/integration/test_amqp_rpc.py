"""Calls over RabbitMQ: every form and every error, what goes over the wire, and what is left behind."""

import asyncio

import pytest

from evbus_like.engine.errors import (
    IncorrectSignature,
    MethodNotFound,
    RemoteError,
    RpcError,
    RpcTimeout,
    UnknownService,
    UnserializableValue,
)
from evbus_like.testing import eventually
from tests.integration.support import DEADLINE
from tests.rpc import client, serving

WAYS = {"tapped": True, "by aiormq": False}
WORLD = """
    SERVICE = {name!r}

    async def hello(hub, param, more=2):
        return {{"got": param, "more": more}}

    def plain(hub, x):
        return x * 2

    async def note(hub, x):
        hub.SEEN.append(x)

    class TooOld(Exception):
        code = 41

    async def fail(hub):
        raise TooOld("no such thing", 5)

    async def unserializable(hub):
        return object()

    async def slow(hub, seconds=60):
        hub.SEEN.append("begun")
        await asyncio.sleep(seconds)
        return "late"

    async def chain(hub, param):
        hub.SEEN.append(evbus.current())
        return await hub.rpc[{name!r}].inner(param)

    async def inner(hub, param):
        hub.SEEN.append(evbus.current())
        return param

    async def onward(hub, param):
        return evbus.transfer({name!r}, "hello", param, more=9)

    async def to_nobody(hub):
        return evbus.transfer({name!r} + "-mars", "hello")

    async def big(hub, size):
        return "x" * size
"""


@pytest.fixture(params=WAYS.values(), ids=WAYS)
def profiles(request, rabbitmq):
    return {"amqp": {"default": {"connection": {"url": rabbitmq.url}, "batched": request.param}}}


@pytest.fixture
def world(app, fresh_name):
    """A hub whose application has the service."""
    return app(WORLD.format(name=fresh_name))


async def test_a_call_gives_what_the_method_returns(world, profiles, fresh_name):
    async with serving(world, profiles) as hub:
        service = hub.rpc[fresh_name]
        assert await service.hello(param="ä") == {"got": "ä", "more": 2}
        assert await service.hello(1, more=[None, {"a": 1.5}]) == {"got": 1, "more": [None, {"a": 1.5}]}
        assert await service.plain(4) == 8
        assert await service.onward(7) == {"got": 7, "more": 9}
        assert await asyncio.to_thread(service.hello.sync, 5) == {"got": 5, "more": 2}
        assert (await service.hello.submit(6))["got"] == 6
        big = await service.big(1_000_000)
        assert len(big) == 1_000_000  # more than one frame
        assert await service.note.cast(8) is None
        await eventually(lambda: hub.SEEN == [8])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda service, _: service.nope(), MethodNotFound, "has no method 'nope'"),
        (lambda service, _: service.hello(), IncorrectSignature, "missing a required argument: 'param'"),
        (lambda _, rpc: rpc["mars-is-empty"].hello(), UnknownService, "nobody serves 'mars-is-empty'"),
        (lambda _, rpc: rpc["mars-is-empty"].hello.cast(), UnknownService, "nobody serves 'mars-is-empty'"),
        (lambda service, _: service.fail(), RemoteError, "raised TooOld"),
        (lambda service, _: service.unserializable(), UnserializableValue, "body.result cannot be serialized"),
        (lambda service, _: service.to_nobody(), UnknownService, "which nobody serves"),
        (lambda service, _: service.slow(timeout=0.3), RpcTimeout, "gave no answer within 0.3 s, and may have run"),
    ],
)
async def test_every_way_to_fail_is_an_error_of_its_own(world, profiles, fresh_name, call, error, message):
    async with serving(world, profiles, timeout=1.0) as hub:
        async with asyncio.timeout(DEADLINE):
            with pytest.raises(error, match=message) as caught:
                await call(hub.rpc[fresh_name], hub.rpc)
        assert type(caught.value) is error
        assert isinstance(caught.value, RpcError)
        assert not client(hub)._pending

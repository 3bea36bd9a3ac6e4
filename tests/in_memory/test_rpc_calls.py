"""Calls in memory: what callers get, in each form and of each kind of error."""

import asyncio
import time

import pytest

from evbus_like.engine.errors import (
    BadRequest,
    HandlerError,
    IncorrectSignature,
    LifecycleError,
    MethodNotFound,
    Refused,
    RemoteError,
    RpcError,
    RpcTimeout,
    UnknownService,
    UnserializableValue,
)
from evbus_like.testing import eventually, running
from tests.rpc import client, serving
from tests.unit.fakes import HANG

WORLD = """
    async def hello(hub, param, more=2):
        return {"got": param, "more": more}

    def plain(hub, x):
        assert threading.current_thread() is not threading.main_thread()
        return x * 2

    async def note(hub, x):
        hub.SEEN.append(x)

    class TooOld(Exception):
        code = 41

    async def fail(hub):
        raise TooOld("no such thing", 5, {"deep": [object]})

    async def unserializable(hub):
        return {"a": [object()]}

    async def slow(hub, seconds=30):
        hub.SEEN.append("begun")
        await asyncio.sleep(seconds)
        return "late"

    async def chain(hub, param):
        hub.SEEN.append(dict(evbus.current().headers))
        return await hub.rpc.world.inner(param)

    async def inner(hub, param):
        hub.SEEN.append(dict(evbus.current().event.headers))
        return param

    async def onward(hub, param):
        return evbus.transfer("world", "hello", param, more=9)

    async def to_nobody(hub):
        return evbus.transfer("mars", "hello")

    async def in_a_circle(hub):
        hub.SEEN.append(1)
        return evbus.transfer("world", "in_a_circle")

    async def asks_wrongly(hub):
        return await hub.rpc.world.hello()

    async def timeout_(hub, timeout, hub_=None):
        return timeout
    timeout_ = evbus.method(name="with_timeout")(timeout_)

    async def takes_all(hub, *args, **kwargs):
        return [list(args), kwargs]

    async def named(hub, a, /, b, *, c=3):
        return [a, b, c]

    def sync_caller(hub, x):
        return hub.rpc.world.hello.sync(x, timeout=5)

    def _private(hub):
        return 1
"""


async def test_a_call_gives_what_the_method_returns(app):
    async with serving(app(WORLD)) as hub:
        assert await hub.rpc.world.hello(param=1) == {"got": 1, "more": 2}
        assert await hub.rpc.world.hello(1, more=[None, {"a": 1.5}]) == {"got": 1, "more": [None, {"a": 1.5}]}
        assert await hub.rpc.world.plain(4) == 8
        assert await hub.rpc["world"]["hello"](2, timeout=5.0) == {"got": 2, "more": 2}
        assert await hub.evbus.rpc.call("world", "takes_all", (1,), {"a": 2}) == [[1], {"a": 2}]
        assert await hub.rpc.world.named(1, b=2) == [1, 2, 3]


async def test_what_a_method_raises_arrives_as_a_remote_error_with_plain_data(app):
    async with serving(app(WORLD)) as hub:
        with pytest.raises(RemoteError) as caught:
            await hub.rpc.world.fail()
    error = caught.value
    assert (error.exc_type, error.code) == ("TooOld", 41)
    assert error.exc_path == "service.world.TooOld"  # without the folders in which the plugin lies
    assert "no such thing" in error.value
    assert error.exc_args == ["no such thing", 5, {"deep": ["<class 'object'>"]}]
    assert str(error).startswith("world.fail raised TooOld: ")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda rpc: rpc.world.nope(), MethodNotFound, "has no method 'nope'"),
        (lambda rpc: rpc["world"].__getattr__("hello.there")(), UnknownService, "nobody serves"),
        (lambda rpc: rpc.world.hello(), IncorrectSignature, r"missing a required argument: 'param'; it is world.hello"),
        (lambda rpc: rpc.world.hello(1, 2, 3), IncorrectSignature, "too many positional arguments"),
        (lambda rpc: rpc.world.hello(1, param=2), IncorrectSignature, "multiple values for argument 'param'"),
        (lambda rpc: rpc.world.hello(1, other=2), IncorrectSignature, "unexpected keyword argument 'other'"),
        (lambda rpc: rpc.world.hello(1, hub=2), IncorrectSignature, "multiple values for argument 'hub'"),
        (lambda rpc: rpc.world.takes_all(hub=2), IncorrectSignature, "multiple values for argument 'hub'"),
        (lambda rpc: rpc.world.named(a=1, b=2), IncorrectSignature, "'a'"),
        (lambda rpc: rpc.mars.hello(), UnknownService, "nobody serves 'mars'"),
        (lambda rpc: rpc.mars.hello.cast(), UnknownService, "nobody serves 'mars'"),
        (lambda rpc: rpc.world.hello(object()), UnserializableValue, r"an argument of world.hello: body.args\[0\]"),
        (lambda rpc: rpc.world.hello({1, float("nan")}), UnserializableValue, "an argument of world.hello"),
        (lambda rpc: rpc.world.unserializable(), UnserializableValue, r"body.result.a\[0\] cannot be serialized"),
        (lambda rpc: rpc.world.to_nobody(), UnknownService, "hands the request on to 'mars', which nobody serves"),
        (lambda rpc: rpc.world.in_a_circle(), Refused, "do services hand on in a circle"),
        (lambda rpc: rpc.world.asks_wrongly(), RemoteError, "asks_wrongly raised IncorrectSignature"),
        (lambda rpc: rpc.world.hello(1, timeout=0), BadRequest, "timeout must be seconds greater than 0"),
        (lambda rpc: rpc.world.hello(1, timeout=float("nan")), BadRequest, "timeout must be seconds"),
        (lambda rpc: rpc.world.hello(1, timeout="5"), BadRequest, "hub.evbus.rpc.call"),
        (lambda rpc: rpc["w" * 250].hello(), BadRequest, "longer than 255 bytes"),
    ],
)
async def test_every_way_to_fail_is_an_error_of_its_own_and_comes_at_once(app, call, error, message):
    async with serving(app(WORLD)) as hub:
        begun = time.monotonic()
        with pytest.raises(error, match=message) as caught:
            await call(hub.rpc)
        assert type(caught.value) is error
        assert isinstance(caught.value, RpcError)
        assert time.monotonic() - begun < HANG  # not by its timeout, which is 30 s
        assert await hub.rpc.world.hello(1) == {"got": 1, "more": 2}
        assert not client(hub)._pending if hub.evbus.RUNTIME.rpc_clients._clients else True


async def test_private_names_and_marks_are_no_methods(app):
    async with serving(app(WORLD)) as hub:
        with pytest.raises(AttributeError):
            hub.rpc.world._private  # noqa: B018
        with pytest.raises(MethodNotFound):
            await hub.evbus.rpc.call("world", "_private")
        with pytest.raises(MethodNotFound):
            await hub.evbus.rpc.call("world", "timeout_", (1,))


async def test_an_argument_that_is_called_timeout_is_given_by_its_own_form(app):
    async with serving(app(WORLD)) as hub:
        assert await hub.evbus.rpc.call("world", "with_timeout", kwargs={"timeout": 7}, timeout=5) == 7
        with pytest.raises(IncorrectSignature):
            await hub.rpc.world.with_timeout(timeout=7)  # the call's own


async def test_a_call_has_a_deadline_and_the_late_answer_is_dropped_and_counted(app):
    async with serving(app(WORLD)) as hub:
        with pytest.raises(RpcTimeout, match=r"world.slow gave no answer within 0.05 s, and may have run"):
            await hub.rpc.world.slow(0.2, timeout=0.05)
        counts = client(hub).stats
        await eventually(lambda: counts.late == 1, HANG)
        assert (counts.calls, counts.answers, counts.timeouts) == (1, 0, 1)
        assert not client(hub)._pending


async def test_the_default_deadline_is_the_setting(app):
    async with serving(app(WORLD), rpc_timeout=0.05) as hub:
        with pytest.raises(RpcTimeout, match=r"0.05 s"):
            await hub.rpc.world.slow(0.2)


async def test_a_cast_expects_no_answer_and_its_error_goes_to_the_log(app, caplog):
    async with serving(app(WORLD)) as hub:
        assert await hub.rpc.world.note.cast(7) is None
        await hub.rpc.world.fail.cast()
        await eventually(lambda: hub.SEEN == [7] and "world.fail failed" in caplog.text, HANG)
        assert hub.evbus.rpc.status()["calling"]["internal:default nameko-rpc"]["answers"] == 0


async def test_a_submitted_call_is_a_task(app):
    async with serving(app(WORLD)) as hub:
        tasks = [hub.rpc.world.hello.submit(number) for number in range(5)]
        assert [task["got"] for task in await asyncio.gather(*tasks)] == list(range(5))


async def test_the_sync_form_is_for_threads_and_refuses_to_block_the_loop(app):
    async with serving(app(WORLD)) as hub:
        assert await asyncio.to_thread(hub.rpc.world.hello.sync, 5) == {"got": 5, "more": 2}
        assert await hub.rpc.world.sync_caller(3) == {"got": 3, "more": 2}
        with pytest.raises(LifecycleError, match=r"await hub.rpc.world.hello\(...\)"):
            hub.rpc.world.hello.sync(1)


def test_a_plain_script_calls_through_a_bus_in_the_background(app):
    hub = app(WORLD)
    with hub.evbus.init.background({"internal": {"default": None}}) as block:
        asyncio.run_coroutine_threadsafe(hub.evbus.rpc.start(), block._loop).result(HANG)
        assert hub.rpc.world.hello.sync(1) == {"got": 1, "more": 2}
        with pytest.raises(RemoteError):
            hub.rpc.world.fail.sync()


async def test_a_transfer_is_answered_by_the_other_method(app):
    async with serving(app(WORLD)) as hub:
        assert await hub.rpc.world.onward(7) == {"got": 7, "more": 9}


async def test_a_circle_of_transfers_ends(app):
    async with serving(app(WORLD)) as hub:
        with pytest.raises(Refused):
            await hub.rpc.world.in_a_circle()
        assert len(hub.SEEN) == 21


async def test_the_context_grows_along_a_chain_of_calls(app):
    async with serving(app(WORLD), service_name="front") as hub:
        headers = {"nameko.tenant": "blue", "nameko.call_id_stack": ["front.call.1"]}
        assert await hub.evbus.rpc.call("world", "chain", (5,), headers=headers) == 5
        outer, inner = hub.SEEN
    assert inner["nameko.tenant"] == "blue"
    assert inner["correlation-id"] == outer["correlation-id"]
    assert inner["causation-id"] == outer["causation-id"]
    assert [call.split(".")[:2] for call in inner["nameko.call_id_stack"]] == [["front", "call"], ["world", "chain"]]
    assert inner["evbus-source"] == "world.chain"


async def test_calls_need_a_running_bus(app):
    hub = app(WORLD)
    with pytest.raises(LifecycleError, match="no bus runs"):
        await hub.rpc.world.hello(1)
    async with serving(hub):
        assert await hub.rpc.world.hello(1)
    with pytest.raises(LifecycleError, match="no bus runs"):
        await hub.rpc.world.hello(1)


async def test_a_bus_that_was_stopped_and_started_again_serves_and_calls(app):
    hub = app(WORLD)
    for _ in range(2):
        async with serving(hub):
            assert await hub.rpc.world.hello(1) == {"got": 1, "more": 2}


async def test_calls_over_a_source_that_knows_none_say_so(app):
    async with running({"kafka": {"default": {"connection": {"bootstrap_servers": "127.0.0.1:1"}}}}, app(WORLD)) as hub:
        with pytest.raises(HandlerError):
            await hub.rpc.world.hello(1)
        with pytest.raises(HandlerError):
            await hub.evbus.rpc.start()


async def test_who_calls_while_two_profiles_could_carry_it_must_choose(app):
    profiles = {"internal": [{"default": None}], "amqp": {"default": {"connection": {"port": 1}}}}
    async with running(profiles, app(WORLD), timeout=0.5) as hub:
        with pytest.raises(HandlerError, match=r"could go by .*hub.evbus.rpc.register\('world', profile="):
            await hub.rpc.world.hello(1)


async def test_only_and_skip_choose_among_methods(app):
    async with running(hub=app(WORLD)) as hub:
        await hub.evbus.rpc.start(only=["world.h*"])
        assert await hub.rpc.world.hello(1)
        with pytest.raises(MethodNotFound):
            await hub.rpc.world.plain(1)
        await hub.evbus.rpc.stop()
        assert await hub.evbus.rpc.start(skip=["world"]) == 0


async def test_services_are_started_once(app):
    async with serving(app(WORLD)) as hub:
        with pytest.raises(LifecycleError, match="started already"):
            await hub.evbus.rpc.start()


@pytest.mark.parametrize(
    ("plugins", "message"),
    [
        ({"service__world": "1 / 0"}, "the service plugin 'world' could not be loaded: ZeroDivisionError"),
        ({"service__a": "SERVICE = 'x'\ndef f(hub): ...", "service__b": "SERVICE = 'x'\ndef f(hub): ..."}, "'x'"),
        (
            {"service__a": "@evbus.method(name='g')\ndef f(hub): ...\ndef g(hub): ..."},
            "a.g is service.a.f already",
        ),
        ({"service__a": "def f(hub):\n    yield"}, "it is a generator"),
        ({"service__a": "@evbus.method(timeout=0)\ndef f(hub): ..."}, "timeout must be greater than 0"),
        ({"service__a": "@evbus.method(expected_exceptions='E')\ndef f(hub): ..."}, "classes of exceptions"),
        ({"service__a": "@evbus.method(sensitive=1)\ndef f(hub): ..."}, "sensitive must be names"),
        ({"service__a": "@evbus.method(name='a.b')\ndef f(hub): ..."}, "name must be text without dots"),
        ({"service__a": "MAX_WORKERS = 0\ndef f(hub): ..."}, "MAX_WORKERS must be a whole number"),
        ({"service__a": "PROFILE = 'nope'\ndef f(hub): ..."}, "unknown source profile 'nope'"),
    ],
)
async def test_services_that_cannot_be_served_are_named_at_the_start(app, plugins, message):
    async with running(hub=app(**plugins)) as hub:
        for _ in range(2):
            with pytest.raises(HandlerError) as caught:
                await hub.evbus.rpc.start()
            assert message in str(caught.value)


async def test_a_service_may_be_called_otherwise_than_its_file_and_import_what_it_likes(app):
    source = "from json import dumps\nSERVICE = 'geo.places'\nasync def find(hub):\n    return dumps([1])\n"
    async with serving(app(service__other=source)) as hub:
        assert await hub.rpc["geo.places"].find() == "[1]"
        with pytest.raises(MethodNotFound):
            await hub.rpc["geo.places"].dumps(1)

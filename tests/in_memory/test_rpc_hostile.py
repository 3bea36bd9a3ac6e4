"""Requests and answers that somebody made by hand: whatever arrives, nothing hangs and no worker dies."""

import asyncio
import json

import pytest

from evbus_like.engine.errors import BadRequest, RemoteError, RpcError, Unroutable
from evbus_like.engine.rpc import wire
from evbus_like.testing import eventually
from tests.rpc import client, raw, serving
from tests.unit.fakes import HANG

WORLD = """
    MAX_WORKERS = 2

    async def hello(hub, param=None):
        hub.SEEN.append(param)
        return param

    async def slow(hub):
        hub.SEEN.append(evbus.current().event)
        while len(hub.SEEN) < 2:
            await asyncio.sleep(0.01)
        return "its own answer"

    async def exits(hub):
        raise SystemExit(3)

    async def closes(hub):
        raise GeneratorExit

    async def cancels_itself(hub):
        asyncio.current_task().cancel()
        return 1

    async def is_cancelled(hub):
        raise asyncio.CancelledError("by somebody")

    def stops(hub):
        raise StopIteration(4)

    async def odd(hub):
        class Odd(Exception):
            def __str__(self):
                raise ValueError("no text")
            @property
            def args(self):
                raise ValueError("no args")
        raise Odd()

    async def half(hub):
        raise ValueError("half a surrogate: \\ud800", "\\ud800", float("inf"), 10**5000)

    async def endless(hub):
        error = ValueError("x")
        error.code = "y" * 10_000
        error.args = (["z" * 3_000] * 100,)
        raise error

    async def group(hub):
        raise ExceptionGroup("both", [ValueError(1)])

    async def circular(hub):
        found = []
        found.append(found)
        return found

    async def deep(hub):
        found = 1
        for _ in range(100_000):
            found = [found]
        return found

    async def coroutine(hub):
        return asyncio.sleep(0)

    async def huge(hub):
        return "x" * 3_000_000
"""
DEEP = b'{"args": ' + b"[" * 100_000 + b"]" * 100_000 + b', "kwargs": {}}'
PAYLOADS = {
    "nothing": b"",
    "no JSON": b"\xff\xfe",
    "nested deeply": DEEP,
    "a list": b"[]",
    "a number": b"7",
    "null": b"null",
    "no args": b'{"kwargs": {}}',
    "no kwargs": b'{"args": []}',
    "args no list": b'{"args": {"0": 1}, "kwargs": {}}',
    "args null": b'{"args": null, "kwargs": {}}',
    "kwargs no mapping": b'{"args": [], "kwargs": [["param", 1]]}',
    "names are numbers": b'{"args": [], "kwargs": 7}',
    "half a surrogate": b'{"args": [], "kwargs": {"\\ud800": 1}}',
    "a number too long": b'{"args": [' + b"9" * 10_000 + b'], "kwargs": {}}',
    "not a number": b'{"args": [], "kwargs": NaN}',
}


def forged(hub):
    """What a caller's reply queue gets, by a correlation id of our own: an asked future."""
    made = client(hub)
    made._pending["ours"] = asyncio.get_running_loop().create_future()
    return made._reply_to, made._pending["ours"]


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
async def test_a_request_of_the_wrong_shape_is_answered_with_an_error_and_the_worker_lives(app, payload):
    async with serving(app(WORLD)) as hub:
        await hub.rpc.world.hello(1)
        reply_to, answer = forged(hub)
        assert await raw(hub, "world.hello", payload, reply_to, "ours") is None
        async with asyncio.timeout(HANG):
            told = await answer
        with pytest.raises(RpcError) as caught:
            wire.result(told, "world.hello")
        assert type(caught.value) in (BadRequest, *wire.KNOWN.values())
        del client(hub)._pending["ours"]
        assert await hub.rpc.world.hello(2) == 2
        assert hub.SEEN == [1, 2]


async def test_fields_that_nobody_knows_are_passed_over(app):
    async with serving(app(WORLD)) as hub:
        await hub.rpc.world.hello(1)
        reply_to, answer = forged(hub)
        await raw(hub, "world.hello", b'{"args": [5], "kwargs": {}, "args2": [1], "__class__": "os"}', reply_to, "ours")
        async with asyncio.timeout(HANG):
            assert wire.result(await answer, "world.hello") == 5


@pytest.mark.parametrize("reply_to", ["nobody", "#", "*", "world.hello", "x" * 300, "\ud800"])
async def test_a_forged_reply_to_reaches_nobody_and_stops_nothing(app, reply_to):
    async with serving(app(WORLD)) as hub:
        await raw(hub, "world.hello", b'{"args": [5], "kwargs": {}}', reply_to, "x")
        await eventually(lambda: 5 in hub.SEEN, HANG)
        assert await hub.rpc.world.hello(6) == 6


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"[]",
        b"null",
        b"{}",
        b'{"error": null}',
        DEEP,
        b"\xff",
        b'{"result": 1, "error": "text"}',
        b'{"result": 1, "error": {}}',
        b'{"result": 1, "error": 0}',
        b'{"result": 1, "error": {"exc_type": ["x"], "exc_args": 7, "value": {"a": []}, "exc_path": 9, "code": [1]}}',
        b'{"result": 1, "error": {"exc_path": "builtins.SystemExit", "exc_type": "SystemExit"}}',
    ],
    ids=range(12),
)
async def test_an_answer_of_the_wrong_shape_is_an_error_of_that_call_alone(app, answer):
    async with serving(app(WORLD)) as hub:
        call = hub.rpc.world.slow.submit()
        await eventually(lambda: hub.SEEN, HANG)
        made, (id,) = client(hub), client(hub)._pending
        await raw(hub, made._reply_to, answer, "", id)
        with pytest.raises((BadRequest, RemoteError)):
            await call
        hub.SEEN.append("go on")
        assert await hub.rpc.world.hello(1) == 1
        await eventually(lambda: made.stats.late == 1, HANG)  # its own, for which nobody waits any more
        assert not made._pending


async def test_answers_to_calls_that_nobody_made_are_dropped_and_counted(app):
    async with serving(app(WORLD)) as hub:
        await hub.rpc.world.hello(1)
        made = client(hub)
        for id in ("", "unknown", "x" * 10_000):
            await raw(hub, made._reply_to, b'{"result": 1, "error": null}', "", id)
        await eventually(lambda: made.stats.late == 3, HANG)
        assert await hub.rpc.world.hello(2) == 2


async def test_the_second_answer_to_a_call_changes_nothing(app):
    async with serving(app(WORLD)) as hub:
        call = hub.rpc.world.slow.submit()
        await eventually(lambda: hub.SEEN, HANG)
        made, (id,) = client(hub), client(hub)._pending
        for number in (1, 2):
            await raw(hub, made._reply_to, b'{"result": %d, "error": null}' % number, "", id)
        assert await call == 1
        hub.SEEN.append("go on")
        await eventually(lambda: made.stats.late == 2, HANG)


@pytest.mark.parametrize(
    ("method", "exc_type"),
    [
        ("exits", "SystemExit"),
        ("closes", "GeneratorExit"),
        ("is_cancelled", "CancelledError"),
        ("stops", "RuntimeError"),
        ("odd", "Odd"),
        ("half", "ValueError"),
        ("endless", "ValueError"),
        ("group", "ExceptionGroup"),
        ("circular", "UnserializableValue"),
        ("deep", "UnserializableValue"),
        ("coroutine", "UnserializableValue"),
    ],
)
@pytest.mark.filterwarnings("ignore:coroutine 'sleep' was never awaited")
async def test_whatever_a_method_does_its_caller_hears_of_it_and_the_worker_lives(app, method, exc_type):
    async with serving(app(WORLD)) as hub:
        async with asyncio.timeout(HANG):
            for _ in range(4):  # more than there are workers
                with pytest.raises(RpcError) as caught:
                    await getattr(hub.rpc.world, method)()
                assert getattr(caught.value, "exc_type", type(caught.value).__name__) == exc_type
                assert len(str(caught.value)) < 5000
        assert await hub.rpc.world.hello(1) == 1


async def test_a_method_that_cancels_its_own_task_answers_and_its_worker_lives(app):
    async with serving(app(WORLD)) as hub:
        async with asyncio.timeout(HANG):
            for _ in range(4):  # more than there are workers
                assert await hub.rpc.world.cancels_itself() == 1


async def test_an_answer_too_large_is_an_error_and_so_is_a_request(app):
    profiles = {"internal": {"default": {"max_event_bytes": 100_000}}}
    async with serving(app(WORLD), profiles) as hub:
        with pytest.raises(
            RpcError, match=r"the result of world.huge: it is 3000026 bytes, more than the profile's max_event_bytes"
        ):
            await hub.rpc.world.huge()
        with pytest.raises(RpcError, match="more than max_event_bytes"):
            await hub.rpc.world.hello("x" * 100_000)
        assert await hub.rpc.world.hello(1) == 1


async def test_a_letter_that_must_arrive_is_given_back_and_others_vanish(app):
    async with serving(app(WORLD)) as hub:
        assert isinstance(await raw(hub, "mars.hello", b"{}", must_arrive=True), Unroutable)
        assert await raw(hub, "mars.hello", b"{}") is None


async def test_an_error_can_name_no_class_that_is_imported_or_made(app):
    told = {"exc_type": "Evil", "exc_path": "os.system", "exc_args": ["true"], "value": "x"}
    with pytest.raises(RemoteError) as caught:
        wire.result({"result": None, "error": told}, "world.hello")
    assert type(caught.value) is RemoteError
    assert json.loads(json.dumps(caught.value.exc_args)) == ["true"]


async def test_what_a_method_calls_sensitive_is_not_in_the_log(app, caplog):
    service = """
    @evbus.method(sensitive=["kwargs.password"])
    async def login(hub, password):
        raise ValueError(f"{password} is wrong")
    """
    async with serving(app(service)) as hub:
        with pytest.raises(RemoteError, match="hunter2 is wrong"):  # its caller knows it
            await hub.rpc.world.login(password="hunter2")
    assert "world.login failed" in caplog.text
    assert "is wrong" in caplog.text
    assert "hunter2" not in caplog.text


def test_an_argument_of_an_error_is_cut_off_where_it_is_deep_or_long():
    deep = wide = {"end": 1}
    for _ in range(50_000):
        deep, wide = {"in": deep}, [wide]
    for each in (deep, wide):
        assert len(json.dumps(wire.safe(each))) < 3 * wire.LONGEST
    many = wire.refusal(ValueError(*range(1000)))
    assert many["error"]["exc_args"] == list(range(wire.MOST))
    assert wire.facts({"exc_args": [deep] * 1000, "value": "x" * 10**6})["message"].endswith("...")

"""Middleware: what passes it on its way in and out, and what it may do."""

import asyncio

import pytest

from evbus_like.engine.errors import BadEvent, HandlerError, Refused, RpcError, RpcTimeout
from evbus_like.testing import eventually, running
from tests.rpc import serving
from tests.unit.fakes import HANG

WORLD = """
    async def hello(hub, n):
        hub.SEEN.append(("method", n, dict(evbus.current().headers).get("nameko.tenant")))
        return n
"""
LISTENER = """
    @evbus.handler("world", "done")
    async def on_done(hub, event):
        hub.SEEN.append(("event", event.body, dict(event.headers).get("seal")))
"""
NOTES = """
    async def incoming(hub, message):
        hub.SEEN.append(("in", message.kind, message.service, message.name))

    def outgoing(hub, message):
        hub.SEEN.append(("out", message.kind, message.service, message.name))
"""


async def test_requests_answers_and_events_pass_in_both_directions(app):
    async with serving(app(WORLD, handler__front=LISTENER, middleware__notes=NOTES)) as hub:
        await hub.evbus.handlers.start()
        await hub.evbus.handlers.join(HANG)
        assert await hub.rpc.world.hello(1) == 1
        assert hub.SEEN == [
            ("out", "request", "world", "hello"),
            ("in", "request", "world", "hello"),
            ("method", 1, None),
            ("out", "answer", "world", "hello"),
            ("in", "answer", "world", "hello"),
        ]
        hub.SEEN.clear()
        await hub.evbus.broker.dispatch("world", "done", {"n": 1})
        await eventually(lambda: len(hub.SEEN) == 3, HANG)
        assert hub.SEEN[:2] == [("out", "event", "world", "done"), ("in", "event", "world", "done")]


async def test_middleware_runs_in_the_order_of_its_names(app):
    plugins = {
        f"middleware__{name}": f"async def incoming(hub, message):\n    hub.SEEN.append({name!r})\n" for name in "cab"
    }
    async with serving(app(WORLD, **plugins)) as hub:
        await hub.rpc.world.hello(1)
        assert [each for each in hub.SEEN if isinstance(each, str)][:3] == ["a", "b", "c"]


async def test_it_may_change_bodies_and_headers(app):
    changing = """
    def outgoing(hub, message):
        if message.kind == "request":
            message.headers["nameko.tenant"] = "blue"
        if message.kind == "answer":
            message.body = {"result": message.body["result"] * 2, "error": None}
        if message.kind == "event":
            message.headers["seal"] = "ours"
            message.body = {"changed": message.body}

    async def incoming(hub, message):
        if message.kind == "request":
            message.body["args"] = [message.body["args"][0] + 100]
        if message.kind == "answer":
            message.body = {"result": message.body["result"] + 1, "error": None}
    """
    async with serving(app(WORLD, handler__front=LISTENER, middleware__changing=changing)) as hub:
        await hub.evbus.handlers.start()
        assert await hub.rpc.world.hello(1) == 203
        assert hub.SEEN == [("method", 101, "blue")]
        await hub.evbus.broker.dispatch("world", "done", 1)
        await eventually(lambda: hub.SEEN[1:] == [("event", {"changed": 1}, "ours")], HANG)


@pytest.mark.parametrize("where", ["outgoing", "incoming"])
async def test_it_may_answer_a_request_before_the_method_is_called(app, where):
    answering = f"async def {where}(hub, message):\n    if message.kind == 'request':\n        evbus.answer([7])\n"
    async with serving(app(WORLD, middleware__answering=answering)) as hub:
        assert await hub.rpc.world.hello(1) == [7]
        assert hub.SEEN == []


@pytest.mark.parametrize("where", ["outgoing", "incoming"])
@pytest.mark.parametrize("kind", ["request", "answer"])
async def test_it_may_refuse_a_call_and_the_caller_hears_why(app, where, kind):
    refusing = f"def {where}(hub, message):\n    if message.kind == {kind!r}:\n        evbus.refuse('not today')\n"
    async with serving(app(WORLD, middleware__refusing=refusing)) as hub:
        for _ in range(12):
            with pytest.raises(Refused, match="not today"):
                await hub.rpc.world.hello(1)


@pytest.mark.parametrize(
    ("where", "kind", "what"),
    [
        *[
            (where, kind, what)
            for where in ("outgoing", "incoming")
            for kind in ("request", "answer")
            for what in ("1 / 0", "raise SystemExit(1)")
        ],
        # The others run in the caller's own task, whose cancelling it is then
        *[
            (where, kind, what)
            for where, kind in (("outgoing", "answer"), ("incoming", "request"))
            for what in ("raise asyncio.CancelledError", "asyncio.current_task().cancel()")
        ],
    ],
)
async def test_middleware_that_fails_is_an_answer_to_the_caller_and_no_dead_worker(app, where, kind, what):
    failing = f"async def {where}(hub, message):\n    if message.kind == {kind!r} and hub.BAD:\n        {what}\n"
    hub = app(WORLD, middleware__failing=failing)
    hub.BAD = True
    async with serving(hub):
        for _ in range(12):  # more than there are workers
            async with asyncio.timeout(HANG):
                (answer,) = await asyncio.gather(hub.rpc.world.hello(1), return_exceptions=True)
            assert isinstance(answer, RpcError) or what.endswith("cancel()")
        hub.BAD = False
        assert await hub.rpc.world.hello(2) == 2


async def test_middleware_that_fails_says_which_it_is(app):
    bad = "def incoming(hub, message):\n    if message.kind == 'request':\n        1 / 0\n"
    async with serving(app(WORLD, middleware__bad=bad)) as hub:
        told = r"middleware.bad.incoming failed with <Message request world.hello>: ZeroDivisionError"
        with pytest.raises(Refused, match=told):
            await hub.rpc.world.hello(1)


async def test_an_event_that_is_refused_on_its_way_in_goes_to_the_dead_letters(app, caplog):
    refusing = "def incoming(hub, message):\n    evbus.refuse('not today')\n"
    async with running(hub=app(WORLD, handler__front=LISTENER, middleware__refusing=refusing)) as hub:
        await hub.evbus.handlers.start()
        await hub.evbus.handlers.join(HANG)
        await hub.evbus.broker.dispatch("world", "done", 1)
        await eventually(lambda: "becomes a dead letter: refused: Refused: not today" in caplog.text, HANG)
        (facts,) = hub.evbus.handlers.status().values()
        assert facts["dead"] == 1
        assert hub.SEEN == []


async def test_an_event_that_is_answered_on_its_way_in_is_done(app):
    answering = "def incoming(hub, message):\n    evbus.answer()\n"
    async with running(hub=app(WORLD, handler__front=LISTENER, middleware__answering=answering)) as hub:
        await hub.evbus.handlers.start()
        await hub.evbus.handlers.join(HANG)
        await hub.evbus.broker.dispatch("world", "done", 1)
        await eventually(lambda: next(iter(hub.evbus.handlers.status().values()))["handled"] == 1, HANG)
        assert hub.SEEN == []


async def test_whoever_puts_an_event_hears_of_its_refusal(app):
    refusing = "def outgoing(hub, message):\n    evbus.refuse('not today')\n"
    async with running(hub=app(middleware__refusing=refusing)) as hub:
        with pytest.raises(BadEvent, match="not today"):
            await hub.evbus.broker.put("key", 1)
        with pytest.raises(BadEvent, match="not today"):
            hub.evbus.broker.put_nowait("key", 1)


async def test_async_middleware_cannot_pass_what_is_put_without_waiting(app):
    async with running(hub=app(middleware__slow="async def outgoing(hub, message): ...\n")) as hub:
        with pytest.raises(BadEvent, match="await put"):
            hub.evbus.broker.put_nowait("key", 1)
        await hub.evbus.broker.put("key", 1)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("1 / 0", "the middleware plugin 'bad' could not be loaded: ZeroDivisionError"),
        ("def something(hub): ...", "has neither incoming"),
    ],
)
async def test_middleware_that_cannot_be_used_fails_the_start(app, source, message):
    with pytest.raises(HandlerError, match=message):
        async with running(hub=app(middleware__bad=source)):
            pass


async def test_without_middleware_nothing_stands_before_put(app):
    hub = app(WORLD)
    plain = hub.evbus.broker.put
    async with running(hub=hub):
        assert hub.evbus.broker.put is plain
        assert hub.evbus.RUNTIME.middleware is None


async def test_an_answer_that_middleware_spoils_is_an_error_of_the_call(app):
    spoiling = "def outgoing(hub, message):\n    if message.kind == 'answer':\n        message.body = 7\n"
    async with serving(app(WORLD, middleware__spoiling=spoiling)) as hub:
        for _ in range(12):
            with pytest.raises(Refused, match="a middleware replaced an answer by a int"):
                await hub.rpc.world.hello(1)


@pytest.mark.parametrize(("where", "kind"), [("outgoing", "request"), ("incoming", "answer")])
async def test_middleware_that_never_ends_costs_a_call_its_deadline(app, where, kind):
    slow = f"async def {where}(hub, message):\n    if message.kind == {kind!r}:\n        await asyncio.sleep(3600)\n"
    async with serving(app(WORLD, middleware__slow=slow)) as hub:
        async with asyncio.timeout(HANG):
            with pytest.raises(RpcTimeout, match=r"world.hello and its middleware took longer than 0.1 s"):
                await hub.rpc.world.hello(1, timeout=0.1)

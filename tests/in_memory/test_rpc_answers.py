"""Answers that go to handlers: which handler gets which, and what a restart finds."""

import pytest

from evbus_like.engine.errors import HandlerError
from evbus_like.testing import eventually, running
from tests.rpc import raw
from tests.unit.fakes import HANG

WORLD = """
    async def hello(hub, param):
        return {"got": param}

    class TooOld(Exception):
        code = 41

    async def fail(hub):
        raise TooOld("no such thing", 5)

    async def onward(hub):
        return evbus.transfer("world", "hello", 9)
"""
HANDLERS = """
    SEEN = []

    @evbus.on_response("world", "hello")
    async def heard(hub, event):
        hub.SEEN.append(("heard", event.body, event.correlation_id, event.service, event.routing_key))

    @evbus.on_error("world", "fail")
    @evbus.on_error("world", "hello")
    def failed(hub, event):
        hub.SEEN.append(("failed", event.body, event.correlation_id, event.service, event.routing_key))

    @evbus.on_response("world", "onward")
    async def onward(hub, event):
        hub.SEEN.append(("onward", event.body))
"""


class Serving:
    """A bus that serves and handles."""

    def __init__(self, hub, handlers=True, services=True):
        self._running = running(hub=hub)
        self._handlers, self._services = handlers, services

    async def __aenter__(self):
        hub = await self._running.__aenter__()
        if self._services:
            await hub.evbus.rpc.start()
            await hub.evbus.rpc.join(HANG)
        if self._handlers:
            await hub.evbus.handlers.start()
            await hub.evbus.handlers.join(HANG)
        return hub

    async def __aexit__(self, *error):
        await self._running.__aexit__(*error)


async def test_an_answer_reaches_the_handler_for_it_and_an_error_the_one_for_errors(app):
    async with Serving(app(WORLD, handler__front=HANDLERS)) as hub:
        first = await hub.rpc.world.hello.ask(param=1)
        second = await hub.rpc.world.fail.ask()
        third = await hub.rpc.world.hello.ask()
        await eventually(lambda: len(hub.SEEN) == 3, HANG)
        seen = {each[2]: each for each in hub.SEEN}
    assert seen[first] == ("heard", {"got": 1}, first, "world", "hello")
    name, error, _, service, method = seen[second]
    assert (name, service, method) == ("failed", "world", "fail")
    assert (error["class"], error["code"], error["args"]) == ("TooOld", 41, ["no such thing", 5])
    assert seen[third][0] == "failed"
    assert seen[third][1]["class"] == "IncorrectSignature"
    assert len({first, second, third}) == 3


async def test_an_answer_waits_in_its_queue_until_handlers_run(app):
    hub = app(WORLD, handler__front=HANDLERS)
    async with Serving(hub, handlers=False):
        await hub.rpc.world.hello.ask(param=1)
        await hub.evbus.rpc.stop(HANG)
        assert hub.SEEN == []
        await hub.evbus.handlers.start()
        await eventually(lambda: len(hub.SEEN) == 1, HANG)
    assert hub.SEEN[0][:2] == ("heard", {"got": 1})


async def test_the_answer_after_a_transfer_is_the_asked_methods(app):
    async with Serving(app(WORLD, handler__front=HANDLERS)) as hub:
        await hub.rpc.world.onward.ask()
        await eventually(lambda: hub.SEEN == [("onward", {"got": 9})], HANG)


async def test_who_asks_without_a_handler_for_the_answer_gets_an_error(app):
    async with Serving(app(WORLD, handler__front=HANDLERS)) as hub:
        with pytest.raises(HandlerError, match=r"nobody would hear the answer of world.nope: mark .*on_response"):
            await hub.rpc.world.nope.ask()


async def test_an_application_of_several_services_must_say_its_name(app):
    handlers = {
        "handler__front": HANDLERS,
        "handler__back": "@evbus.on_response('world', 'x')\ndef f(hub, event): ...\n",
    }
    hub = app(WORLD, **handlers)
    async with Serving(hub, handlers=False):
        with pytest.raises(HandlerError, match="set service_name"):
            await hub.evbus.handlers.start()
    hub = app(WORLD, **handlers)
    hub.OPT = {"evbus_like": {"service_name": "shop"}}
    async with Serving(hub):
        await hub.rpc.world.hello.ask(param=1)
        await eventually(lambda: hub.SEEN, HANG)
        assert "rpc.responses-shop" in hub.ingress.internal.EXCHANGES["nameko-rpc"].bindings


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("@evbus.on_response('w', 'm')\ndef f(hub, event): ...\n" * 2, None),  # the second definition stands
        (
            "@evbus.on_response('w', 'm')\ndef f(hub, event): ...\n"
            "@evbus.on_response('w', 'm')\ndef g(hub, event): ...\n",
            "the response of w.m has a handler already: handler.front.f",
        ),
        ("@evbus.on_response('w', 'm')\ndef f(hub): ...\n", "handler.front.f"),
        ("@evbus.on_response('w', 'm')\ndef f(hub, event):\n    yield\n", "it is a generator"),
        ("@evbus.on_response('w', '')\ndef f(hub, event): ...\n", "method must be non-empty text, not ''"),
        ("@evbus.on_error('w', 'm', attempts=0)\ndef f(hub, event): ...\n", "attempts"),
    ],
)
async def test_handlers_of_answers_that_cannot_be_used_are_named_at_the_start(app, source, message):
    async with running(hub=app(handler__front=source)) as hub:
        if message is None:
            assert await hub.evbus.handlers.start() == 1
            return
        with pytest.raises(HandlerError) as caught:
            await hub.evbus.handlers.start()
        assert message in str(caught.value)


@pytest.mark.parametrize(
    ("correlation_id", "headers", "body"),
    [
        ("", {}, b'{"result": 1, "error": null}'),
        ("forged", {"evbus-source": "world.nope", "evbus-type": "response"}, b'{"result": 1, "error": null}'),
        ("world.hello", {"evbus-source": 7, "evbus-type": ["x"]}, b"{"),
        (":::", {}, b"[]"),
    ],
)
async def test_answers_that_nobody_asked_for_stop_nothing(app, correlation_id, headers, body, caplog):
    async with Serving(app(WORLD, handler__front=HANDLERS)) as hub:
        await raw(hub, "rpc.responses-front", body, "", correlation_id, headers=headers)
        await eventually(lambda: ": dropped, " in caplog.text, HANG)
        await hub.rpc.world.hello.ask(param=1)
        await eventually(lambda: len(hub.SEEN) == 1, HANG)


async def test_an_answer_that_is_none_goes_to_the_dead_letters(app, caplog):
    async with Serving(app(WORLD, handler__front=HANDLERS)) as hub:
        await raw(hub, "rpc.responses-front", b"[]", "", "world.hello:1")
        await eventually(lambda: "it becomes a dead letter" in caplog.text, HANG)
        assert hub.SEEN == []


async def test_a_handler_of_answers_that_fails_is_called_again(app):
    handlers = """
    @evbus.on_response("world", "hello", attempts=3, backoff=0.001)
    async def heard(hub, event):
        hub.SEEN.append(event.attempt)
        if event.attempt < 3:
            raise ValueError("not yet")
    """
    async with Serving(app(WORLD, handler__front=handlers)) as hub:
        await hub.rpc.world.hello.ask(param=1)
        await eventually(lambda: hub.SEEN == [1, 2, 3], HANG)


async def test_a_notification_of_a_service_and_method_reaches_its_listeners(app):
    handlers = "@evbus.handler('world', 'hello')\nasync def on_hello(hub, event):\n    hub.SEEN.append(event.body)\n"
    async with Serving(app(WORLD, handler__front=handlers)) as hub:
        receipt = await hub.rpc.world.hello.publish(a=1)
        await eventually(lambda: hub.SEEN == [{"a": 1}], HANG)
        assert receipt.id


async def test_what_on_response_does_not_know_is_an_error_at_once(app):
    from evbus_like.handlers import on_response

    with pytest.raises(HandlerError, match="a handler of answers has no option 'delivery'"):
        on_response("world", "hello", delivery="broadcast")

"""Calls over RabbitMQ: every form and every error, what goes over the wire, and what is left behind."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest

from evbus_like.errors import (
    HandlerError,
    IncorrectSignature,
    MethodNotFound,
    RemoteError,
    RpcError,
    RpcTimeout,
    UnknownService,
    UnserializableValue,
)
from evbus_like.testing import eventually, running
from tests.integration.support import DEADLINE, channel
from tests.rpc import client, serving

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


@pytest.fixture
def profiles(rabbitmq):
    return {"amqp": {"default": {"connection": {"url": rabbitmq.url}}}}


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


NOWHERE = {"amqp": {"default": {"connection": {"url": "amqp://nowhere.invalid"}}}}


@pytest.mark.parametrize(
    ("plugin", "source"),
    [
        ("service__world", "async def hello(hub): ..."),
        ("handler__shop", "@evbus.on_response('world', 'hello')\nasync def got(hub, event): ..."),
    ],
)
async def test_a_service_whose_queue_s_name_is_too_long_is_refused_at_the_start(app, plugin, source):
    async with running(NOWHERE, app(**{plugin: f"SERVICE = {'w' * 250!r}\n{source}"}), 0.1) as hub:
        with pytest.raises(HandlerError, match=r"bytes long, and RabbitMQ takes 255.* shorter name"):
            await (hub.evbus.rpc if plugin == "service__world" else hub.evbus.handlers).start()


@pytest.fixture
def wired(rabbitmq):
    """Profiles, where one way is as good as the other."""
    return {"amqp": {"default": {"connection": {"url": rabbitmq.url}}}}


async def test_a_request_and_its_answer_say_on_the_wire_what_nameko_says_and_where_they_are_from(
    rabbitmq, world, wired, fresh_name
):
    async with serving(world, wired, service_name="front") as hub, channel(rabbitmq.url) as opened:
        assert (await hub.rpc[fresh_name].hello(0))["got"] == 0
        queue = await opened.declare_queue(exclusive=True)
        for key in (f"{fresh_name}.*", client(hub)._reply_to):
            await queue.bind("nameko-rpc", key)
        await hub.rpc[fresh_name].hello(1, timeout=20.0)
        with pytest.raises(RemoteError):
            await hub.rpc[fresh_name].fail()
        async with asyncio.timeout(DEADLINE), queue.iterator() as arrived:
            request, answer, _, error = [await anext(arrived) for _ in range(4)]
    assert request.routing_key == f"{fresh_name}.hello"
    assert json.loads(request.body) == {"args": [1], "kwargs": {}}
    assert request.reply_to == answer.routing_key
    assert request.correlation_id == answer.correlation_id
    assert (request.expiration, answer.expiration) == (20.0, None)
    for each in (request, answer, error):
        assert (each.content_type, each.content_encoding, each.delivery_mode) == ("application/json", "utf-8", 2)
        assert each.message_id
    assert request.headers["evbus-source"] == "front"
    assert json.loads(answer.body) == {"result": {"got": 1, "more": 2}, "error": None}
    assert (answer.headers["evbus-source"], answer.headers["evbus-type"]) == (f"{fresh_name}.hello", "response")
    assert error.headers["evbus-type"] == "error"
    told = json.loads(error.body)
    assert (told["result"], told["error"]["exc_type"], told["error"]["code"]) == (None, "TooOld", 41)


async def test_the_context_grows_along_a_chain_of_calls(world, wired, fresh_name):
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    headers = {"nameko.tenant": "blue", "nameko.call_id_stack": ["front.call.1"], "traceparent": trace}
    async with serving(world, wired, service_name="front") as hub:
        assert await hub.evbus.rpc.call(fresh_name, "chain", (5,), headers=headers) == 5
        outer, inner = hub.SEEN
    first, second = outer.event, inner.event
    assert first.headers["evbus-source"] == "front"
    assert second.headers["evbus-source"] == f"{fresh_name}.chain"
    assert second.headers["nameko.tenant"] == "blue"
    assert second.headers["correlation-id"] == first.id == second.headers["causation-id"]
    assert first.correlation_id != second.correlation_id  # each call's own, by which its answer finds it
    assert first.reply_to == second.reply_to != ""
    assert [call.split(".")[:2] for call in second.headers["nameko.call_id_stack"]] == [
        ["front", "call"],
        [fresh_name, "chain"],
    ]
    traces = [event.headers["traceparent"].split("-") for event in (first, second)]
    assert traces[0][1] == traces[1][1] == "0af7651916cd43dd8448eb211c80319c"
    assert traces[0][2] != traces[1][2]


HANDLERS = """
    SERVICE = {front!r}

    @evbus.on_response({name!r}, "hello")
    async def heard(hub, event):
        hub.SEEN.append(("heard", event.body["got"], event.correlation_id))

    @evbus.on_error({name!r}, "fail")
    async def failed(hub, event):
        hub.SEEN.append(("failed", event.body["class"], event.correlation_id))

    @evbus.handler({name!r}, "hello")
    async def told(hub, event):
        hub.SEEN.append(("told", event.body))
"""


@asynccontextmanager
async def handling(hub, profiles):
    async with running(profiles, hub) as hub:
        await hub.evbus.handlers.start()
        await hub.evbus.handlers.join(DEADLINE)
        yield hub


async def test_answers_reach_the_handlers_of_another_instance(app, profiles, fresh_name):
    handlers = HANDLERS.format(name=fresh_name, front=f"{fresh_name}-front")
    plugins = {"service__world": WORLD.format(name=fresh_name), "handler__front": handlers}
    server, asking, instance = (app(**plugins) for _ in range(3))
    async with serving(server, profiles), running(profiles, asking), handling(instance, profiles):
        ids = [await asking.rpc[fresh_name].hello.ask(n) for n in range(10)]
        failed = await asking.rpc[fresh_name].fail.ask()
        await eventually(lambda: len(instance.SEEN) == 11, DEADLINE)
        assert asking.SEEN == []
    assert sorted(instance.SEEN) == sorted(
        [("failed", "TooOld", failed), *(("heard", n, id) for n, id in enumerate(ids))]
    )


async def test_an_answer_waits_for_an_application_that_restarts_and_for_rabbitmq(app, rabbitmq, wired, fresh_name):
    handlers = HANDLERS.format(name=fresh_name, front=f"{fresh_name}-front")
    plugins = {"service__world": WORLD.format(name=fresh_name), "handler__front": handlers}
    # Given an application that asks and ends before anybody serves what it asks for
    hub = app(**plugins)
    async with serving(hub, wired):  # it makes the service's queue
        await hub.evbus.rpc.stop()
        id = await hub.rpc[fresh_name].hello.ask(3)
    # When it is answered, with RabbitMQ restarted before and after
    await asyncio.to_thread(rabbitmq.restart)
    async with serving(app(**plugins), wired) as hub:
        await eventually(lambda: next(iter(hub.evbus.rpc.status()["serving"].values()))["handled"] == 1, DEADLINE)
    await asyncio.to_thread(rabbitmq.restart)
    # Then its next start hears the answer
    async with handling(app(**plugins), wired) as hub:
        await eventually(lambda: [("heard", 3, id)] == hub.SEEN, DEADLINE)


async def test_a_notification_reaches_its_listeners(app, wired, fresh_name):
    handlers = HANDLERS.format(name=fresh_name, front=f"{fresh_name}-front")
    async with handling(app(handler__front=handlers), wired) as hub:
        await hub.rpc[fresh_name].hello.publish(a=1)
        await eventually(lambda: hub.SEEN == [("told", {"a": 1})], DEADLINE)


async def test_the_services_file_leads_to_the_exchange_and_profile_of_a_service(
    app, rabbitmq, wired, tmp_path, fresh_name
):
    path = tmp_path / "services.ini"
    path.write_text(f"[{fresh_name}]\nexchange = {fresh_name}-calls\nprofile = amqp:default\n")
    hub = app(WORLD.format(name=fresh_name))
    async with serving(hub, wired, services_file=str(path)), channel(rabbitmq.url) as opened:
        assert (await hub.rpc[fresh_name].hello(1))["got"] == 1
        await opened.get_exchange(f"{fresh_name}-calls")  # raises where it is not there
        with pytest.raises(UnknownService, match="the services file does not know the service 'mars'"):
            await hub.rpc.mars.hello(1)


async def test_the_profile_names_the_exchange_of_calls(app, rabbitmq, wired, fresh_name):
    wired["amqp"]["default"] |= {"rpc_exchange": f"{fresh_name}-calls", "exchange": "of-events", "routing_key": ""}
    async with serving(app(WORLD.format(name=fresh_name)), wired) as hub, channel(rabbitmq.url) as opened:
        assert (await hub.rpc[fresh_name].hello(1))["got"] == 1
        await opened.get_exchange(f"{fresh_name}-calls")


async def test_calls_over_kafka_are_refused_where_services_are_bound_and_where_they_are_called(app, fresh_name):
    profiles = {"kafka": {"default": {"connection": {"bootstrap_servers": "127.0.0.1:1"}}}}
    async with running(profiles, app(WORLD.format(name=fresh_name)), timeout=0.5) as hub:
        with pytest.raises(HandlerError, match=r"cannot carry calls: .* use a profile of amqp or internal"):
            await hub.evbus.rpc.start()
        with pytest.raises(HandlerError, match="kafka:default cannot carry calls"):
            await hub.rpc[fresh_name].hello(1)


async def test_two_lines_let_the_calls_of_an_application_on_kafka_stay_on_rabbitmq(app, wired, tmp_path, fresh_name):
    path = tmp_path / "services.yml"
    path.write_text('"*": {profile: "amqp:default"}\n')
    profiles = {**wired, "kafka": {"default": {"connection": {"bootstrap_servers": "127.0.0.1:1"}}}}
    async with serving(app(WORLD.format(name=fresh_name)), profiles, services_file=str(path)) as hub:
        assert (await hub.rpc[fresh_name].hello(1))["got"] == 1


async def test_an_exchange_of_calls_that_is_something_else_is_refused(app, rabbitmq, wired, fresh_name):
    async with channel(rabbitmq.url) as opened:
        await opened.declare_exchange(f"{fresh_name}-calls", "fanout", durable=True)
    wired["amqp"]["default"]["rpc_exchange"] = f"{fresh_name}-calls"
    async with running(wired, app(WORLD.format(name=fresh_name)), timeout=0.5) as hub:
        with pytest.raises(RpcTimeout, match=r"RabbitMQ at .* refuses the exchange .*-calls'"):
            await hub.rpc[fresh_name].hello(1, timeout=3.0)

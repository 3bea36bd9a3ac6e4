"""Calls between the real nameko 2.14.1 and us, in both directions, with the errors of each."""

import asyncio
import json
import os
from contextlib import asynccontextmanager

import pytest

from evbus_like.engine.errors import (
    IncorrectSignature,
    MethodNotFound,
    RemoteError,
    UnknownService,
    UnserializableValue,
)
from evbus_like.testing import eventually
from evbus_like.testing import running as bus
from tests.integration.support import DEADLINE
from tests.interop import services
from tests.rpc import serving

WORLD = """
    SERVICE = {name!r}

    class TooYoung(Exception):
        code = 7

    async def add(hub, a, b=2):
        return {{"sum": a + b, "text": "ä"}}

    async def fail(hub):
        raise TooYoung("not yet", 5)

    async def unserializable(hub):
        return object()

    async def context(hub):
        return dict(evbus.current().headers)

    async def onward(hub, a):
        return evbus.transfer({name!r} + "-serves", "add", a, b=40)
"""
CLUSTER = """
import json, sys
from nameko.standalone.rpc import ClusterRpcProxy, ServiceRpcProxy
from nameko import exceptions
config, name = {"AMQP_URI": sys.argv[1]}, sys.argv[2]
results = {}
def call(key, function, *args, **kwargs):
    try:
        results[key] = function(*args, **kwargs)
    except exceptions.RemoteError as error:
        results[key] = ["RemoteError", error.exc_type, error.value]
    except Exception as error:
        results[key] = [type(error).__name__, str(error)]
with ClusterRpcProxy(config, context_data={"tenant": "blue"}, timeout=30) as cluster:
    world = cluster[name]
    call("add", world.add, 1, b=3)
    call("fail", world.fail)
    call("nope", world.nope)
    call("signature", world.add)
    call("unserializable", world.unserializable)
    call("context", world.context)
    call("nobody", cluster[name + "-nobody"].add, 1)
    replies = [world.add.call_async(number) for number in range(50)]
    results["async"] = [reply.result()["sum"] for reply in replies]
with ServiceRpcProxy(name, config, timeout=30) as world:
    call("service", world.add, 5)
print(json.dumps(results))
"""


@pytest.fixture
def profiles(rabbitmq):
    return {"amqp": {"default": {"connection": {"url": rabbitmq.url}}}}


@pytest.fixture
def side(rabbitmq, nameko_python, tmp_path, fresh_name):
    """Run a service of nameko that reads a queue."""

    @asynccontextmanager
    async def run(what, queue):
        def ready():
            found = rabbitmq.queues("consumers")
            return any(name.startswith(queue) and counts["consumers"] for name, counts in found.items())

        async with services.running(nameko_python, rabbitmq.url, tmp_path, fresh_name, what, ready) as made:
            yield made

    return run


async def test_we_call_a_nameko_service(side, profiles, fresh_name):
    async with side("Serves", f"rpc-{fresh_name}-serves"), bus(profiles) as hub:
        theirs = hub.rpc[f"{fresh_name}-serves"]
        assert await theirs.add(1, b=3) == 4
        assert await theirs.add(a=1) == 3
        assert await asyncio.gather(*(theirs.add(n) for n in range(50))) == [n + 2 for n in range(50)]
        with pytest.raises(RemoteError) as caught:
            await theirs.fail()
        assert (caught.value.exc_type, caught.value.exc_args) == ("TooOld", ["no such thing", "5"])
        assert caught.value.exc_path == "nameko_services.TooOld"
        with pytest.raises(MethodNotFound, match="nope"):
            await theirs.nope()
        with pytest.raises(IncorrectSignature):
            await theirs.add()
        with pytest.raises(UnserializableValue):
            await theirs.unserializable()
        with pytest.raises(UnknownService):
            await hub.rpc[f"{fresh_name}-nobody"].add(1)
        # And the context goes along as nameko has it
        headers = {"nameko.tenant": "blue", "nameko.call_id_stack": ["front.call.1"]}
        name = f"{fresh_name}-serves"
        data = await hub.evbus.rpc.call(name, "context", headers=headers)
        assert data["tenant"] == "blue"
        assert data["calls"][0] == "front.call.1"


async def test_a_nameko_client_calls_our_service(app, rabbitmq, nameko_python, profiles, fresh_name):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    async with serving(app(WORLD.format(name=fresh_name)), profiles):
        process = await asyncio.create_subprocess_exec(
            *(nameko_python, "-W", "ignore", "-c", CLUSTER, rabbitmq.url, fresh_name),
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(DEADLINE):
            out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    results = json.loads(out)
    assert results["add"] == {"sum": 4, "text": "ä"}
    assert results["service"] == {"sum": 7, "text": "ä"}
    assert results["async"] == [n + 2 for n in range(50)]
    assert results["fail"] == ["RemoteError", "TooYoung", "('not yet', 5)"]
    assert results["nope"][0] == "MethodNotFound"
    assert results["signature"][0] == "IncorrectSignature"
    assert results["unserializable"][:2] == ["RemoteError", "UnserializableValueError"]  # nameko has no more of it
    assert results["nobody"][0] == "UnknownService"
    assert results["context"]["nameko.tenant"] == "blue"


async def test_a_nameko_service_calls_ours(app, side, profiles, fresh_name):
    calls = [
        ("world", "add", [1], {"b": 3}),
        ("world", "fail", [], {}),
        ("world", "nope", [], {}),
        ("world", "add", [], {}),
        ("nobody", "add", [1], {}),
        ("world", "add", [5], {}),
    ]
    async with (
        serving(app(WORLD.format(name=fresh_name)), profiles) as hub,
        side("Calls", f"evt-{fresh_name}-go-go") as theirs,
    ):
        await hub.evbus.broker.dispatch(f"{fresh_name}-go", "go", calls, confirm="delivered")
        await eventually(lambda: theirs.bodies("done") == [6], DEADLINE)
    assert theirs.bodies("answer") == [["add", {"sum": 4, "text": "ä"}], ["add", {"sum": 7, "text": "ä"}]]
    kinds = [(method, kind) for method, kind, *_ in theirs.bodies("error")]
    assert kinds == [
        ("fail", "RemoteError"),
        ("nope", "MethodNotFound"),
        ("add", "IncorrectSignature"),
        ("add", "UnknownService"),
    ]
    assert theirs.bodies("error")[0][2:] == ["TooYoung", "('not yet', 5)"]


async def test_a_nameko_service_answers_a_request_that_we_forward(app, side, profiles, fresh_name):
    async with (
        serving(app(WORLD.format(name=fresh_name)), profiles) as hub,
        side("Serves", f"rpc-{fresh_name}-serves"),
    ):
        assert await hub.rpc[fresh_name].onward(2) == 42


async def test_replies_of_a_nameko_service_reach_our_handlers(app, side, profiles, fresh_name):
    name = f"{fresh_name}-serves"
    handlers = f"""
    SERVICE = {fresh_name!r}

    @evbus.on_response({name!r}, "add")
    async def added(hub, event):
        hub.SEEN.append(event.body)

    @evbus.on_error({name!r}, "fail")
    async def failed(hub, event):
        hub.SEEN.append(event.body["class"])
    """
    async with side("Serves", f"rpc-{name}"), bus(profiles, app(handler__front=handlers)) as hub:
        await hub.evbus.handlers.start()
        await hub.evbus.handlers.join(DEADLINE)
        await hub.rpc[name].add.ask(1)
        await eventually(lambda: hub.SEEN == [3], DEADLINE)
        await hub.rpc[name].fail.ask()
        await eventually(lambda: hub.SEEN == [3, "TooOld"], DEADLINE)

"""Recorded calls and replies of nameko 2.14.1, for machines that cannot run it."""

import asyncio
import base64
import json
import re

import pytest

from evbus_like.engine.errors import IncorrectSignature, MethodNotFound, RemoteError, UnserializableValue
from evbus_like.engine.rpc import wire
from evbus_like.testing import eventually
from tests.integration.support import DEADLINE, channel
from tests.integration.test_amqp_source import send_raw
from tests.interop.record import NOTES, REQUESTS, SOURCE, published
from tests.interop.recorder import properties, recording
from tests.rpc import client, serving

OWN = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
SERVES = f"""
    SERVICE = "{SOURCE}-serves"

    class TooOld(Exception):
        pass

    async def add(hub, a, b=2):
        return a + b

    async def fail(hub):
        raise TooOld("no such thing", 5)

    async def unserializable(hub):
        return object()
"""
WORLD = f"""
    SERVICE = "{SOURCE}"

    async def add(hub, a, b=2):
        event = evbus.current().event
        hub.SEEN.append((event.reply_to, event.correlation_id, event.headers["nameko.call_id_stack"]))
        return a + b
"""


@pytest.fixture(scope="module")
def nameko():
    """The recording."""
    return json.loads(NOTES.read_text(encoding="utf-8"))


@pytest.fixture
async def clean(rabbitmq):
    """Leave no queue of the recorded services behind."""
    yield
    async with channel(rabbitmq.url) as opened:
        for name in rabbitmq.queues():
            if name.startswith((f"rpc-{SOURCE}", f"rpc.reply-{SOURCE}")):
                await opened.queue_delete(name)


def declared(methods, of):
    """Give what was declared, bound and consumed for calls, with a placeholder for the id of an instance."""
    kept = [method for method in methods if method["method"].split(".")[0] in ("Exchange", "Queue")]
    kept += [method for method in methods if method["method"] == "Basic.Consume"]
    alike = [OWN.sub("<own>", json.dumps(method, sort_keys=True)) for method in kept]
    return sorted({each for each in alike if "evt-" not in each and ".events" not in each and of in each})


def profile_through(recorder, **more):
    """A profile that connects through the recorder."""
    return {"amqp": {"default": {"connection": {"host": "127.0.0.1", "port": recorder.port}, **more}}}


async def test_our_service_declares_and_answers_like_a_nameko_service(rabbitmq, app, nameko, clean):
    async with recording(rabbitmq.port) as recorder:
        async with serving(app(SERVES), profile_through(recorder)), channel(rabbitmq.url) as opened:
            plain = await opened.get_underlay_channel()
            known = [call for call in published(nameko["Serves"]) if call["routing_key"] == "nobody"]
            assert len(known) == len(REQUESTS)
            for number, (method, args, kwargs) in enumerate(REQUESTS):
                body = json.dumps({"args": args, "kwargs": kwargs}).encode()
                raw = base64.b64decode(known[number]["properties"])  # with its correlation id
                raw = bytes([raw[0] | 2, raw[1]]) + raw[2:] + b"\x06nobody"  # and a reply_to
                await send_raw(plain, "nameko-rpc", f"{SOURCE}-serves.{method}", raw, body)
                await eventually(lambda n=number: len(published(recorder.methods())) == n + 1, DEADLINE)
        ours = recorder.methods()
    assert declared(ours, "") == declared(nameko["Serves"], "")
    for mine, theirs in zip(published(ours), known, strict=True):
        for name in ("exchange", "routing_key", "mandatory"):
            assert mine[name] == theirs[name], name
        sent, expected = properties(mine["properties"]), properties(theirs["properties"])
        for name in ("content_type", "content_encoding", "delivery_mode", "correlation_id"):
            assert sent[name] == expected[name], name
        reply, expected_reply = json.loads(mine["body"]), json.loads(theirs["body"])
        assert reply["result"] == expected_reply["result"]
        assert (reply["error"] is None) == (expected_reply["error"] is None)
        if expected_reply["error"]:
            assert set(reply["error"]) >= set(expected_reply["error"])
            assert reply["error"]["exc_type"] == expected_reply["error"]["exc_type"]
            if expected_reply["error"]["exc_path"].startswith("nameko."):
                assert reply["error"]["exc_path"] == expected_reply["error"]["exc_path"]


async def test_our_service_understands_nameko_requests(rabbitmq, app, nameko, clean):
    (request,) = published(nameko["Calls"])
    profiles = {"amqp": {"default": {"connection": {"url": rabbitmq.url}}}}
    known = properties(request["properties"])
    async with serving(app(WORLD), profiles) as hub, channel(rabbitmq.url) as opened:
        queue = await opened.declare_queue(exclusive=True)
        await queue.bind("nameko-rpc", known["reply_to"])
        plain = await opened.get_underlay_channel()
        raw = base64.b64decode(request["properties"])
        await send_raw(plain, request["exchange"], request["routing_key"], raw, request["body"].encode())
        async with asyncio.timeout(DEADLINE), queue.iterator() as arrived:
            answer = await anext(arrived)
    assert json.loads(answer.body) == {"result": 4, "error": None}
    assert answer.correlation_id == known["correlation_id"]
    assert [(known["reply_to"], known["correlation_id"], known["headers"]["nameko.call_id_stack"])] == hub.SEEN


async def test_our_client_declares_and_requests_like_a_nameko_client(rabbitmq, app, nameko, clean):
    (theirs,) = published(nameko["Calls"])
    async with recording(rabbitmq.port) as recorder:
        hub = app(WORLD)
        async with serving(hub, profile_through(recorder), service_name=f"{SOURCE}-calls"):
            headers = {"nameko.call_id_stack": ["orders-calls.go.1"]}
            assert await hub.evbus.rpc.call(SOURCE, "add", (1,), {"b": 3}, headers=headers) == 4
        ours = recorder.methods()
    for of in ("Exchange.Declare", "rpc.reply-"):
        assert declared(ours, of) == declared(nameko["Calls"], of)
    mine = published(ours)[0]
    for name in ("exchange", "routing_key", "mandatory"):
        assert mine[name] == theirs[name], name
    assert json.loads(mine["body"]) == json.loads(theirs["body"])
    sent, known = properties(mine["properties"]), properties(theirs["properties"])
    for name in ("content_type", "content_encoding", "delivery_mode"):
        assert sent[name] == known[name], name
    assert sent["headers"]["nameko.call_id_stack"] == ["orders-calls.go.1"]
    (bound,) = [each["routing_key"] for each in ours if each["method"] == "Queue.Bind" and "reply" in each["queue"]]
    assert sent["reply_to"] == bound
    assert sent["correlation_id"]


async def test_our_client_understands_nameko_replies(rabbitmq, app, nameko, clean):
    profiles = {"amqp": {"default": {"connection": {"url": rabbitmq.url}}}}
    answers = published(nameko["Serves"])
    async with serving(app(WORLD), profiles, service_name=SOURCE) as hub, channel(rabbitmq.url) as opened:
        await hub.evbus.rpc.call(SOURCE, "add", (1,), headers={"nameko.call_id_stack": ["x"]})
        plain, caller = await opened.get_underlay_channel(), client(hub)
        replies = []
        for number, answer in enumerate(answers):
            caller._pending[f"call-{number}"] = future = asyncio.get_running_loop().create_future()
            raw = base64.b64decode(answer["properties"])
            key = caller._reply_to
            await send_raw(plain, answer["exchange"], key, raw, answer["body"].encode())
            async with asyncio.timeout(DEADLINE):
                replies.append(await future)
            del caller._pending[f"call-{number}"]
    assert wire.result(replies[0], "add") == 4
    expected = [RemoteError, MethodNotFound, IncorrectSignature, UnserializableValue]
    for answer, error in zip(replies[1:], expected, strict=True):
        with pytest.raises(error):
            wire.result(answer, "x")

"""Recorded traffic of nameko 2.14.1 (nameko-2.14.1.json), for machines that cannot run it."""

import base64
import json
import re
from contextlib import suppress

import pytest

from evbus_like.testing import eventually, running
from tests.integration.receiving import RecordingHandler, receiving
from tests.integration.support import channel
from tests.integration.test_amqp_source import send_raw
from tests.interop import services
from tests.interop.record import DISPATCHED, NOTES, SOURCE, published, unique
from tests.interop.recorder import properties, recording
from tests.interop.test_nameko import handlers_of_all_modes

INSTANCE = re.compile(r"[0-9a-f]{32}$")


@pytest.fixture(scope="module")
def nameko():
    """The recording."""
    return json.loads(NOTES.read_text(encoding="utf-8"))


def declared(methods):
    """Give what was declared and consumed, sorted, with a placeholder for the id of an instance."""
    kept = [method for method in methods if method["method"].split(".")[0] in ("Exchange", "Queue")]
    kept += [method for method in methods if method["method"] in ("Basic.Qos", "Basic.Consume")]
    alike = [{name: _without_instance(value) for name, value in method.items()} for method in kept]
    return sorted(json.dumps(method, sort_keys=True) for method in unique(alike))


def _without_instance(value):
    return INSTANCE.sub("<instance>", value) if isinstance(value, str) else value


@pytest.fixture
async def clean(rabbitmq):
    """Leave no queue of the recorded service behind."""
    yield
    async with channel(rabbitmq.url) as opened:
        for name in rabbitmq.queues():
            if name.startswith(f"evt-{SOURCE}-"):
                with suppress(ValueError):  # a queue of another test, whose name the client does not take
                    await opened.queue_delete(name)


async def test_our_handlers_declare_exactly_what_nameko_handlers_declare(rabbitmq, nameko, clean):
    async with recording(rabbitmq.port) as recorder:
        profile = {"connection": {"host": "127.0.0.1", "port": recorder.port}}
        handlers = {name: RecordingHandler() for name in services.HANDLED}
        async with receiving(profile, *handlers_of_all_modes(SOURCE, handlers)):
            pass
        ours = recorder.methods()
    assert declared(ours) == declared(nameko["Handles"])


async def test_our_handlers_understand_nameko_messages(rabbitmq, nameko, clean):
    handlers = {name: RecordingHandler() for name in services.HANDLED}
    messages = published(nameko["Dispatches"])
    assert len(messages) == DISPATCHED
    async with (
        receiving({"connection": {"url": rabbitmq.url}}, *handlers_of_all_modes(SOURCE, handlers)),
        channel(rabbitmq.url) as opened,
    ):
        plain = await opened.get_underlay_channel()
        for message in messages:
            raw = base64.b64decode(message["properties"])
            await send_raw(plain, message["exchange"], message["routing_key"], raw, message["body"].encode())
        for handler in handlers.values():
            await handler.wait_for(DISPATCHED)
    for handler in handlers.values():
        assert handler.bodies == [{"n": number, "text": "ä"} for number in range(DISPATCHED)]
        (call,) = handler.events[0].headers["nameko.call_id_stack"]
        assert call.startswith(f"{SOURCE}.go.")


async def test_our_events_look_like_nameko_events(rabbitmq, nameko):
    theirs = published(nameko["Dispatches"])[0]
    async with recording(rabbitmq.port) as recorder:
        connection = {"host": "127.0.0.1", "port": recorder.port}
        async with running({"amqp": {"default": {"connection": connection}}}) as hub:
            headers = {"nameko.call_id_stack": ["orders.go.1"]}
            await hub.evbus.broker.dispatch(
                SOURCE, "placed", {"n": 0, "text": "ä"}, headers=headers, confirm="delivered"
            )
        await eventually(lambda: published(recorder.methods()))
        (ours,) = published(recorder.methods())
        exchange = [method for method in recorder.methods() if method["method"] == "Exchange.Declare"]
    assert exchange == [method for method in nameko["Dispatches"] if method.get("exchange_type")][:1]
    for name in ("exchange", "routing_key", "mandatory"):
        assert ours[name] == theirs[name], name
    assert json.loads(ours["body"]) == json.loads(theirs["body"])
    sent, known = properties(ours["properties"]), properties(theirs["properties"])
    assert (sent["content_type"], sent["delivery_mode"]) == (known["content_type"], known["delivery_mode"])
    assert type(sent["headers"]["nameko.call_id_stack"]) is type(known["headers"]["nameko.call_id_stack"])

"""Requests over RabbitMQ that were made to do harm: each is answered once, or logged, and the others go on."""

import asyncio
import json
from contextlib import asynccontextmanager

import aiormq
import pytest

from evbus_like.testing import eventually
from tests.integration.support import DEADLINE, channel, setting, take
from tests.integration.test_amqp_source import send_raw
from tests.rpc import serving

WORLD = """
    SERVICE = {name!r}

    async def hello(hub, param):
        hub.SEEN.append(param)
        return "x" * 2000
"""
BODY = json.dumps({"args": [1], "kwargs": {}}).encode()


@asynccontextmanager
async def served(app, rabbitmq, name, **plugins):
    """Serve a method; gives the hub, a plain channel, and a queue for answers with its routing key."""
    hub = app(WORLD.format(name=name), **plugins)
    profile = {"connection": {"url": rabbitmq.url}, "rpc_exchange": f"rpc-{name}"}
    async with serving(hub, {"amqp": {"default": profile}}), channel(rabbitmq.url) as opened:
        replies = await opened.declare_queue(f"replies-{name}", exclusive=True)
        await replies.bind(f"rpc-{name}", f"back-{name}")
        yield hub, await opened.get_underlay_channel(), replies


def request(name, **properties):
    """Return the properties of a request."""
    given = {"content_type": "application/json", "reply_to": f"back-{name}", "correlation_id": "c", **properties}
    return aiormq.spec.Basic.Properties(**given).marshal()


@pytest.mark.parametrize(
    "headers",
    [
        {"nameko.full": "x" * 130_600},
        {f"nameko.{number}": "x" * 1250 for number in range(100)},
        {"nameko.call_id_stack": ["x" * 130_000]},
        {"nameko.call_id_stack": [{"a": [1, {"b": "c" * 1000}]}] * 50},
        {"correlation-id": "x" * 60_000, "causation-id": "y" * 60_000},
        {"traceparent": "x" * 60_000, "tracestate": "y" * 60_000},
        {"evbus-id": "x" * 120_000},
        {"evbus-hops": 2**63 - 1},
    ],
    ids=["one", "many", "stack", "stack of tables", "ids", "trace", "event id", "hops"],
)
async def test_a_request_with_headers_that_fill_a_frame_runs_once_and_is_answered(app, rabbitmq, fresh_name, headers):
    async with served(app, rabbitmq, fresh_name) as (hub, plain, replies):
        await send_raw(plain, f"rpc-{fresh_name}", f"{fresh_name}.hello", request(fresh_name, headers=headers), BODY)
        (answer,) = await take(replies, 1)
        assert json.loads(answer.body)["result"] == "x" * 2000
        assert answer.correlation_id == "c"
        assert hub.SEEN == [1]


async def test_an_answer_that_does_not_fit_is_sent_without_the_context_or_as_an_error(app, rabbitmq, fresh_name):
    middleware = """
        def outgoing(hub, message):
            if message.kind == "answer":
                message.headers["large"] = "x" * 140_000
    """
    async with served(app, rabbitmq, fresh_name, middleware__large=middleware) as (hub, plain, replies):
        await send_raw(plain, f"rpc-{fresh_name}", f"{fresh_name}.hello", request(fresh_name), BODY)
        (answer,) = await take(replies, 1)
        assert json.loads(answer.body)["result"] == "x" * 2000
        assert "large" not in answer.headers
        assert hub.SEEN == [1]


async def test_an_answer_that_rabbitmq_refuses_becomes_an_error_and_answers_beside_it_arrive(app, rabbitmq, fresh_name):
    with setting(rabbitmq, "max_message_size", 1000):
        async with served(app, rabbitmq, fresh_name) as (hub, plain, replies):
            for number in range(10):
                body = BODY if number == 5 else json.dumps({"args": [], "kwargs": {}}).encode()
                raw = request(fresh_name, correlation_id=str(number))
                await send_raw(plain, f"rpc-{fresh_name}", f"{fresh_name}.hello", raw, body)
            answers = {}
            async with asyncio.timeout(DEADLINE):
                while len(answers) < 10:  # an answer whose confirm was lost is sent twice
                    answers.update({each.correlation_id: json.loads(each.body) for each in await take(replies, 1)})
            assert hub.SEEN == [1]
    assert sorted(answers) == [str(number) for number in range(10)]
    errors = {number: answer["error"]["exc_type"] for number, answer in answers.items()}
    assert errors == {
        number: "UnserializableValueError" if number == "5" else "IncorrectSignature" for number in errors
    }


@pytest.mark.parametrize("reply_to", ["nowhere", "x" * 255, b"\xff" * 255, "amq.rabbitmq.reply-to.none", "#", "a b"])
async def test_an_answer_that_nobody_can_get_costs_nothing_else(app, rabbitmq, fresh_name, reply_to):
    async with served(app, rabbitmq, fresh_name) as (hub, plain, replies):
        raw = reply_to if isinstance(reply_to, bytes) else reply_to.encode()
        odd = b"\x06\x00" + bytes([255]) + b"\xfe" * 255 + bytes([len(raw)]) + raw  # a correlation id, and reply_to
        await send_raw(
            plain, f"rpc-{fresh_name}", f"{fresh_name}.hello", b"\x86\x00\x10application/json" + odd[2:], BODY
        )
        await eventually(lambda: hub.SEEN)
        await send_raw(plain, f"rpc-{fresh_name}", f"{fresh_name}.hello", request(fresh_name), BODY)
        assert [answer.correlation_id for answer in await take(replies, 1)] == ["c"]
        assert hub.SEEN == [1, 1]

"""Replies to requests: what is sent when the first try is refused, and what becomes of the request."""

import asyncio
import json

import pytest

from evbus_like.engine.errors import Blocked, DestinationRefused, TransientError, UnknownOutcome, Unroutable
from evbus_like.engine.message import Message, SendBuffer
from evbus_like.engine.receiving.disposition import DONE, PENDING
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.receiving.rules import REQUEUE
from evbus_like.engine.rpc import reply, wire
from evbus_like.engine.rpc.reply import ReplySender
from evbus_like.engine.rpc.wire import Transfer
from tests.unit.fakes import until

ANSWER = {"result": 3, "error": None}
TOO_LARGE = DestinationRefused("it is too large")


def sender(*outcomes):
    """A sender whose source settles the messages with these outcomes in turn, and the list of what it sent."""
    left, sent = list(outcomes), []

    async def send(messages):
        for message in messages:
            sent.append(message)
            message.settle(left.pop(0))

    made = ReplySender("maths", lambda value: json.dumps(value).encode(), "replies", 1000, None)
    made.connect(send, "a source")
    return made, sent


def request(reply_to="back", **headers):
    """A request that was received."""
    event = ReceivedEvent(b"{}", "maths.add")
    event.reply_to, event.correlation_id, event.headers = reply_to, "c1", headers
    return event


async def outcome(made, event, reply):
    """Send a reply, and give what becomes of the request."""
    found = await made.send(event, "add", reply, {"trace": "t"})
    return await found.until if found.kind == PENDING else found


def errors(message):
    """The error of an answer."""
    return json.loads(message.body)["error"]


async def test_an_answer_goes_back_with_its_correlation_id():
    made, sent = sender(None)

    assert await outcome(made, request(), ANSWER) == DONE
    assert [(each.routing_key, each.correlation_id, json.loads(each.body)) for each in sent] == [("back", "c1", ANSWER)]
    assert sent[0].headers["trace"] == "t"


async def test_a_request_that_wants_no_answer_gets_none():
    made, sent = sender()
    assert (await outcome(made, request(reply_to=""), ANSWER), sent) == (DONE, [])


async def test_a_refused_answer_is_sent_without_context_and_then_as_an_error():
    made, sent = sender(TOO_LARGE, TOO_LARGE, None)

    assert await outcome(made, request(), ANSWER) == DONE
    assert ["trace" in each.headers for each in sent] == [True, False, False]
    assert json.loads(sent[1].body) == ANSWER
    assert "the result of maths.add cannot be sent: it is too large" in errors(sent[2])["value"]


async def test_an_answer_that_is_refused_in_every_form_ends_the_request_and_is_logged(caplog):
    made, sent = sender(TOO_LARGE, TOO_LARGE, TOO_LARGE)

    assert await outcome(made, request(), ANSWER) == DONE
    assert len(sent) == 3
    assert "the reply of maths to" in caplog.text
    assert "it is too large" in caplog.text


async def test_a_request_comes_again_when_its_answer_may_not_have_been_sent():
    made, _ = sender(TransientError("the connection was lost"))

    found = await outcome(made, request(), ANSWER)
    assert (found.kind, found.reason) == (REQUEUE, "the connection was lost")


async def test_a_request_is_handed_on_and_its_hops_are_counted():
    made, sent = sender(None)

    assert await outcome(made, request(**{wire.HOPS: 2}), Transfer("other", "add", (1,), {})) == DONE
    assert (sent[0].routing_key, sent[0].reply_to, sent[0].headers[wire.HOPS]) == ("other.add", "back", 3)


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (Unroutable("no queue"), "hands the request on to 'other', which nobody serves"),
        (TOO_LARGE, "cannot hand the request on to 'other': it is too large"),
    ],
    ids=["nobody serves it", "refused"],
)
async def test_a_request_that_cannot_be_handed_on_is_answered_with_an_error(problem, said):
    made, sent = sender(problem, None)

    assert await outcome(made, request(), Transfer("other", "add", (1,), {})) == DONE
    assert said in errors(sent[1])["value"]


async def test_a_request_that_was_handed_on_too_often_is_answered_with_an_error():
    made, sent = sender(None)

    assert await outcome(made, request(**{wire.HOPS: wire.MOST_HOPS}), Transfer("other", "add", (1,), {})) == DONE
    assert "do services hand on in a circle?" in errors(sent[0])["value"]


async def test_what_cannot_be_serialized_is_answered_with_an_error():
    made, sent = sender(None, None)

    assert await outcome(made, request(), Transfer("other", "add", (object(),), {})) == DONE
    assert await outcome(made, request(), {"result": object(), "error": None}) == DONE
    assert all("not JSON serializable" in errors(each)["value"] for each in sent)


async def test_while_the_source_takes_nothing_an_answer_waits_and_the_request_is_not_given_back(monkeypatch, caplog):
    monkeypatch.setattr(reply, "BLOCKED_PAUSE", 0.001)
    made, sent = sender(*[Blocked("low on memory")] * 3, None)

    assert await outcome(made, request(), ANSWER) == DONE
    assert len(sent) == 4
    assert caplog.text.count("low on memory") == 1


async def test_a_request_waits_to_be_handed_on_while_the_source_takes_nothing(monkeypatch):
    monkeypatch.setattr(reply, "BLOCKED_PAUSE", 0.001)
    made, sent = sender(*[Blocked("low on memory")] * 3, None)

    assert await outcome(made, request(), Transfer("other", "add")) == DONE
    assert {each.routing_key for each in sent} == {"other.add"}


async def test_at_a_stop_an_answer_that_waits_is_given_up_and_the_request_given_back(monkeypatch):
    monkeypatch.setattr(reply, "BLOCKED_PAUSE", 0.001)
    made, _ = sender(*[Blocked("low on memory")] * 2)
    found = await made.send(request(), "add", ANSWER, {})
    made.closing = True

    assert (await found.until).kind == REQUEUE


async def test_a_message_that_the_source_holds_has_no_deadline_and_one_again_afterwards():
    messages = [Message("replies", "back", b"1", str(number)) for number in range(2)]
    held, outcomes = [True], {}

    async def send(messages):
        messages[1].is_held = lambda: held[0]

    buffer = SendBuffer(send, "a source", 0.02)
    for message in messages:
        buffer.put(message, lambda error, id=message.id: outcomes.__setitem__(id, error))
    await asyncio.sleep(0.1)
    assert {id: type(error) for id, error in outcomes.items()} == {"0": UnknownOutcome}

    held[0] = False
    await until(lambda: len(outcomes) == 2)
    assert type(outcomes["1"]) is UnknownOutcome
    assert buffer.open == 0

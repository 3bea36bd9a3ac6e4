"""amqp/messages.py: requests and confirms of calls, and which of them RabbitMQ's confirms are about."""

import asyncio
import struct
from types import SimpleNamespace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pamqp.header import ContentHeader

from evbus_like.amqp.codec import content_frames, publish_method
from evbus_like.amqp.confirms import Confirms, MessageRefused
from evbus_like.amqp.deliveries import Delivery, decode
from evbus_like.amqp.messages import MessageSender, UnconfirmedMessage, encode_properties
from evbus_like.amqp.properties import CORRELATION_ID, Properties, encode
from evbus_like.engine.errors import DestinationRefused, TransientError, UnknownOutcome, Unroutable
from evbus_like.engine.message import Message
from evbus_like.engine.receiving.subscription import Subscription
from tests.unit.amqp import confirm_channel

RETURN, ACK, NACK = 50, 80, 120


def method(kind, number=0, multiple=0):
    return struct.pack(">HHQB", 60, kind, number, multiple)


def header(raw, size):
    return struct.pack(">HHQ", 60, 0, size) + raw


class Recorded(Message):
    """A message that records its outcomes."""

    __slots__ = ("outcomes",)

    def __init__(self, *args, **facts):
        super().__init__(*args, **facts)
        self.outcomes = []
        self.on_settled = self.outcomes.append


def message(id="id-1", **facts):
    return Recorded("nameko-rpc", "world.hello", b"body", id, **{"must_arrive": True, **facts})


def sent(confirms, *made):
    unconfirmed = [UnconfirmedMessage(each, encode_properties(each)) for each in made]
    confirms.expect(unconfirmed)
    return unconfirmed


def returned(confirms, message):
    assert confirms.method(method(RETURN)[:4] + b"\x01\x38\x08NO_ROUTE\x0anameko-rpc\x01k")
    confirms.header(header(message.properties, len(message.body)))
    confirms.body(message.body)


def test_the_properties_are_what_any_client_reads():
    made = message("id-1", correlation_id="c", reply_to="r", headers={"a": "b", "n": [1]}, expires=1.5)
    decoded = ContentHeader()
    decoded.unmarshal(header(encode_properties(made), 4))
    found = {name: value for name, value in decoded.properties if value}
    assert found == {
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "headers": {"a": "b", "n": [1]},
        "delivery_mode": 2,
        "correlation_id": "c",
        "reply_to": "r",
        "expiration": "1500",
        "message_id": "id-1",
    }


@pytest.mark.parametrize(("seconds", "said"), [(0.0001, "1"), (1.0, "1000"), (10**9, str(2**32 - 1))])
def test_the_expiration_is_in_milliseconds_that_rabbitmq_takes(seconds, said):
    decoded = ContentHeader()
    decoded.unmarshal(header(encode_properties(message(expires=seconds)), 4))
    assert decoded.properties.expiration == said


def test_an_ack_settles_one_message_or_all_up_to_it():
    confirms, made = Confirms(), [message(f"id-{n}") for n in range(5)]
    sent(confirms, *made)
    confirms.method(method(ACK, 2))
    assert [each.outcomes for each in made] == [[], [None], [], [], []]
    confirms.method(method(ACK, 4, multiple=1))
    assert [each.outcomes for each in made] == [[None]] * 4 + [[]]
    confirms.method(method(ACK, 2))  # again
    confirms.method(method(ACK, 99))  # unknown
    assert [each.outcomes for each in made] == [[None]] * 4 + [[]]
    assert [each.id for each in confirms.waiting.values()] == ["id-4"]


def test_only_the_message_that_is_returned_is_unroutable():
    confirms, made = Confirms(), [message(f"id-{n}") for n in range(3)]
    unconfirmed = sent(confirms, *made)
    returned(confirms, unconfirmed[1])
    confirms.method(method(ACK, 3, multiple=1))
    assert made[0].outcomes == made[2].outcomes == [None]
    assert isinstance(made[1].outcomes[0], Unroutable)
    assert not confirms.waiting


def test_a_message_that_is_refused_certainly_did_not_arrive():
    confirms, made = Confirms(), message()
    sent(confirms, made)
    confirms.method(method(NACK, 1))
    assert isinstance(made.outcomes[0], TransientError)


def test_the_outcome_of_a_message_on_a_lost_channel_is_unknown():
    confirms, made = Confirms(), message()
    sent(confirms, made)
    confirms.fail(TransientError("lost"))
    assert isinstance(made.outcomes[0], UnknownOutcome)
    with pytest.raises(TransientError):
        sent(confirms, message("id-2"))


def test_when_rabbitmq_closes_a_channel_over_an_exchange_only_messages_for_it_are_refused():
    confirms, mine, other = Confirms(), message(), Recorded("elsewhere", "k", b"", "id-2")
    sent(confirms, mine, other)
    confirms.fail(DestinationRefused("no exchange 'elsewhere' in vhost '/'"))
    assert isinstance(mine.outcomes[0], UnknownOutcome)
    assert isinstance(other.outcomes[0], DestinationRefused)


OPEN = SimpleNamespace(check_blocked=lambda: None, is_blocked=lambda: False)


class Connected(MessageSender):
    """A sender with a channel that keeps what is written."""

    def __init__(self):
        super().__init__(OPEN)
        self.channel, self.written = confirm_channel()
        self._channel = self

    async def get(self):
        return self.channel


async def test_a_message_that_cannot_be_encoded_fails_alone():
    sender = Connected()
    made = [message(), message("id-2", reply_to="x" * 256), message("id-3", correlation_id="\ud800"), message("id-4")]
    await sender.send(made)
    assert [each.id for each in sender.channel.confirms.waiting.values()] == ["id-1", "id-4"]
    for bad in made[1:3]:
        assert isinstance(bad.outcomes[0], DestinationRefused)
    (frames,) = sender.written
    assert frames.count(b"\xce") >= 6


async def test_an_empty_batch_writes_nothing():
    sender = Connected()
    await sender.send([message("id-1", reply_to="x" * 256)])
    assert sender.written == []


def test_a_body_is_cut_into_frames_that_the_channel_takes():
    data = content_frames(7, 10, publish_method("e", "k", True), b"\0\0", b"x" * 25)
    kinds, at = [], 0
    while at < len(data):
        kind, channel, size = struct.unpack_from(">BHI", data, at)
        assert channel == 7
        kinds.append((kind, size))
        at += 8 + size
    assert kinds[2:] == [(3, 10), (3, 10), (3, 5)]


def test_the_cache_of_methods_is_bounded():
    sender = Connected()
    for number in range(5000):
        sender._method(Message("e", f"s.{number}", b"", "i"))
    assert len(sender._methods) <= 1001


@given(st.binary(min_size=1, max_size=255) | st.text(min_size=1, max_size=60).map(str.encode))
@example(b"\\xff")
@example(b"\xff\xfe" * 127)
def test_an_answer_repeats_the_bytes_of_its_requests_correlation_id(correlation_id):
    raw = encode({CORRELATION_ID: bytes([len(correlation_id)]) + correlation_id})
    subscription = Subscription("world", ("world.*",), "world", "requests")
    request = decode(Delivery(1, False, "nameko-rpc", "world.hello", raw, b"{}"), subscription)
    assert request.correlation_id.encode()  # readable text, whatever it was
    answer = message("answer", correlation_id=request.correlation_id)
    assert Properties(encode_properties(answer)).parts[CORRELATION_ID][1:] == correlation_id


ANY_TEXT = st.one_of(st.text(max_size=10), st.text(min_size=200, max_size=400), st.just("\ud800"))
ANY_VALUE = st.one_of(
    st.text(), st.text().map(lambda text: text * 40_000), st.integers(), st.floats(), st.just(object())
)


@given(
    st.tuples(ANY_TEXT, ANY_TEXT, ANY_TEXT, ANY_TEXT, ANY_TEXT, ANY_TEXT),
    st.dictionaries(ANY_TEXT, ANY_VALUE, max_size=4),
    st.floats() | st.none(),
)
async def test_whatever_a_message_holds_it_is_written_in_frames_that_fit_or_refused_alone(texts, headers, expires):
    exchange, key, id, correlation, reply_to, content_type = texts
    channel, written = confirm_channel()
    sender = MessageSender(OPEN)
    sender._channel = SimpleNamespace(get=lambda: asyncio.sleep(0, channel))
    odd = Recorded(exchange, key, b"x", id, correlation, reply_to, headers, content_type, False, expires)
    await sender.send([message("before"), odd, message("behind")])
    count = len(channel.confirms.waiting)
    assert count == 3 or (count == 2 and isinstance(odd.outcomes[0], DestinationRefused))
    assert len(channel.confirms.waiting) * 200 + 131_100 * (count - 2) > len(b"".join(written))


async def test_an_answer_that_may_have_been_refused_is_sent_again_alone_and_a_request_is_not():
    suspects, answer, request = [], message("answer", must_arrive=False), message("request")
    for each in (answer, request):
        UnconfirmedMessage(each, b"", suspects.append).lost(MessageRefused("too large"))
    assert suspects == [answer]
    assert answer.outcomes == []
    assert isinstance(request.outcomes[0], UnknownOutcome)
    UnconfirmedMessage(answer, b"").lost(MessageRefused("too large"))
    assert isinstance(answer.outcomes[0], DestinationRefused)

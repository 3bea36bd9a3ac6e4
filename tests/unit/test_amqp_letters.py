"""amqp/letters.py and the answers of RabbitMQ to what goes out: which letter each is about."""

import asyncio
import struct

import pytest
from pamqp.header import ContentHeader

from evbus_like.amqp import copies, letters
from evbus_like.amqp.copies import Answers
from evbus_like.amqp.letters import Letters, Sending, properties_of
from evbus_like.engine.errors import DestinationRefused, TransientError, UnknownOutcome, Unroutable
from evbus_like.engine.message import Message

RETURN, ACK, NACK = 50, 80, 120


def method(kind, number=0, multiple=0):
    return struct.pack(">HHQB", 60, kind, number, multiple)


def header(raw, size):
    return struct.pack(">HHQ", 60, 0, size) + raw


class Told(Message):
    """A letter that notes its outcomes."""

    __slots__ = ("outcomes",)

    def __init__(self, *args, **facts):
        super().__init__(*args, **facts)
        self.outcomes = []
        self.on_settled = self.outcomes.append


def letter(id="id-1", **facts):
    return Told("nameko-rpc", "world.hello", b"body", id, **{"must_arrive": True, **facts})


def sent(answers, *made):
    sendings = [Sending(each, properties_of(each), answers) for each in made]
    for each in sendings:
        answers.expect(each)
    return sendings


def returned(answers, sending):
    assert answers.method(method(RETURN)[:4] + b"\x01\x38")
    answers.header(header(sending.properties, len(sending.body)))
    answers.body(sending.body)


def test_the_properties_are_what_any_client_reads():
    made = letter("id-1", correlation_id="c", reply_to="r", headers={"a": "b", "n": [1]}, expires=1.5)
    decoded = ContentHeader()
    decoded.unmarshal(header(properties_of(made), 4))
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
    decoded.unmarshal(header(properties_of(letter(expires=seconds)), 4))
    assert decoded.properties.expiration == said


def test_an_ack_settles_one_letter_or_all_up_to_it():
    answers, made = Answers(), [letter(f"id-{n}") for n in range(5)]
    sent(answers, *made)
    answers.method(method(ACK, 2))
    assert [each.outcomes for each in made] == [[], [None], [], [], []]
    answers.method(method(ACK, 4, multiple=1))
    assert [each.outcomes for each in made] == [[None]] * 4 + [[]]
    answers.method(method(ACK, 2))  # said twice
    answers.method(method(ACK, 99))  # of nothing
    assert [each.outcomes for each in made] == [[None]] * 4 + [[]]
    assert list(answers.by_id) == ["id-4"]


def test_a_letter_that_is_returned_is_unroutable_and_no_other_is():
    answers, made = Answers(), [letter(f"id-{n}") for n in range(3)]
    sendings = sent(answers, *made)
    returned(answers, sendings[1])
    answers.method(method(ACK, 3, multiple=1))
    assert made[0].outcomes == made[2].outcomes == [None]
    assert isinstance(made[1].outcomes[0], Unroutable)
    assert not answers.by_id
    assert not answers.waiting


def test_a_letter_that_is_refused_is_certainly_not_there():
    answers, made = Answers(), letter()
    sent(answers, made)
    answers.method(method(NACK, 1))
    assert isinstance(made.outcomes[0], TransientError)


def test_of_a_letter_on_a_channel_that_is_lost_nobody_knows():
    answers, made = Answers(), letter()
    sent(answers, made)
    answers.fail(TransientError("lost"))
    assert isinstance(made.outcomes[0], UnknownOutcome)
    with pytest.raises(TransientError):
        sent(answers, letter("id-2"))


def test_a_channel_that_is_refused_is_the_fault_of_the_letters_to_that_exchange():
    answers, mine, other = Answers(), letter(), Told("elsewhere", "k", b"", "id-2")
    sent(answers, mine, other)
    answers.fail(DestinationRefused("no exchange 'elsewhere' in vhost '/'"))
    assert isinstance(mine.outcomes[0], UnknownOutcome)
    assert isinstance(other.outcomes[0], DestinationRefused)


class Channel:
    number, max_content_size = 1, 1000


class FakeCopies:
    """Takes what is written."""

    tapped = True

    def __init__(self):
        self.answers = Answers()
        self.written = []

    async def ready(self):
        return Channel()

    async def write(self, channel, sendings, payload):
        self.written.append((sendings, payload))

    async def close(self):
        pass


async def test_a_letter_that_cannot_be_encoded_fails_alone():
    fake = FakeCopies()
    made = [letter("id-1"), letter("id-2", reply_to="x" * 256), letter("id-3", correlation_id="\ud800"), letter("id-4")]
    await Letters(fake).send(made)
    ((sendings, payload),) = fake.written
    assert [each.letter for each in sendings] == [made[0], made[3]]
    for bad in made[1:3]:
        assert isinstance(bad.outcomes[0], DestinationRefused)
    assert payload.count(b"\xce") >= 6


async def test_an_empty_batch_writes_nothing():
    fake = FakeCopies()
    await Letters(fake).send([letter("id-1", reply_to="x" * 256)])
    assert fake.written == []


def test_a_body_is_cut_into_frames_that_the_channel_takes():
    data = copies.encoded(7, 10, copies.published("e", "k", True), b"\0\0", b"x" * 25)
    kinds, at = [], 0
    while at < len(data):
        kind, channel, size = struct.unpack_from(">BHI", data, at)
        assert channel == 7
        kinds.append((kind, size))
        at += 8 + size
    assert kinds[2:] == [(3, 10), (3, 10), (3, 5)]


def test_the_names_of_methods_that_were_sent_to_are_bounded():
    made = Letters(FakeCopies())
    for number in range(5000):
        made._method(Message("e", f"s.{number}", b"", "i"))
    assert len(made._methods) <= 1001


async def test_closing_gives_up_letters_that_go_by_aiormqs_own_way():
    class Plain(FakeCopies):
        tapped = False

        async def ready(self):
            class Hangs:
                async def basic_publish(self, *args, **kwargs):
                    await asyncio.sleep(3600)

            return Hangs()

    made, each = letters.Letters(Plain()), letter()
    await made.send([each])
    await asyncio.sleep(0)
    await made.close()
    assert isinstance(each.outcomes[0], UnknownOutcome)

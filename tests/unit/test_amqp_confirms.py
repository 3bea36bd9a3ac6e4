"""amqp/confirms.py: RabbitMQ's answers settle the messages that they are about."""

import asyncio
import struct
from types import SimpleNamespace

import pytest

from evbus_like.amqp.confirms import ConfirmChannel, Confirms
from evbus_like.amqp.redelivery import Copy
from evbus_like.engine.errors import TransientError, Unroutable

RETURN = b"\x00\x3c\x00\x32\x01\x38\x08NO_ROUTE\x00\x05queue"


def ack(tag, multiple=0, method=80):
    return struct.pack(">HHQB", 60, method, tag, multiple)


def expected(confirms, count, body=b"body"):
    copies = [Copy(b"\x00\x00", body + bytes([number])) for number in range(count)]
    confirms.expect(copies)
    return copies


def return_of(confirms, copy):
    assert confirms.method(RETURN)
    confirms.header(struct.pack(">HHQ", 60, 0, len(copy.body)) + copy.properties)
    confirms.body(copy.body)


async def test_confirms_settle_their_copies_one_by_one_or_many_at_once():
    confirms = Confirms()
    one, two, three, four = expected(confirms, 4)
    confirms.method(ack(2))
    assert (one.done.done(), two.done.done()) == (False, True)
    confirms.method(ack(3, multiple=1))
    assert (one.done.result(), three.done.result(), four.done.done()) == (None, None, False)
    confirms.method(ack(4, method=120))
    with pytest.raises(TransientError, match=r"basic\.nack"):
        await four.done


async def test_a_copy_that_was_returned_is_not_delivered_though_rabbitmq_confirms_it():
    confirms = Confirms()
    one, two = expected(confirms, 2)
    return_of(confirms, two)
    confirms.method(ack(2, multiple=1))
    assert one.done.result() is None
    with pytest.raises(Unroutable, match=r"the default exchange for routing key 'queue'"):
        await two.done


async def test_of_two_equal_copies_that_are_returned_both_are_unroutable():
    confirms = Confirms()
    copies = [Copy(b"\x00\x00", b"same") for _ in range(2)]
    confirms.expect(copies)
    for copy in copies:
        return_of(confirms, copy)
    confirms.method(ack(2, multiple=1))
    assert [type(copy.done.exception()) for copy in copies] == [Unroutable] * 2


async def test_copies_fail_with_their_channel_and_none_is_waited_for_afterwards():
    confirms = Confirms()
    (one,) = expected(confirms, 1)
    confirms.fail(TransientError("gone"))
    with pytest.raises(TransientError, match="gone"):
        await one.done
    with pytest.raises(TransientError, match="gone"):
        expected(confirms, 1)


@pytest.mark.parametrize("still_open", [True, False], ids=["open", "closed"])
async def test_a_write_that_fails_cuts_the_connection_only_while_the_channel_is_open(still_open):
    # Given a channel that cannot be written to
    cut = []

    async def write(frames):
        raise ConnectionResetError("reset")

    channel = SimpleNamespace(
        aiormq=SimpleNamespace(lock=asyncio.Lock()),
        connection=SimpleNamespace(abort=lambda: cut.append(True)),
        is_open=still_open,
        on_lost=lambda lost: None,
        tap=lambda sink: None,
        write=write,
    )
    # When it is
    with pytest.raises(TransientError, match="reset"):
        await ConfirmChannel(channel, lambda error: TransientError(str(error))).write([Copy(b"", b"")], b"x")
    # Then the delivery tags are in doubt, but not those of other channels if this one is closed anyway
    assert cut == ([True] if still_open else [])

"""amqp/feed.py and amqp/copies.py: acks in as few frames as may be, and answers to copies."""

import asyncio
import struct
from types import SimpleNamespace

import aiormq.exceptions as aiormq
import pytest

from evbus_like.amqp import refusals
from evbus_like.amqp.copies import Answers, Copy
from evbus_like.amqp.deliveries import Delivery
from evbus_like.amqp.feed import Feed
from evbus_like.engine.errors import DestinationRefused, TransientError, Unroutable
from evbus_like.engine.receiving.subscription import Subscription

SUBSCRIPTION = Subscription("orders", ("placed",), "shipping", "ship")


@pytest.fixture
async def feed():
    """A feed whose channel writes to a queue."""
    channel = SimpleNamespace(number=3, write_queue=asyncio.Queue())
    link = SimpleNamespace(target=SimpleNamespace(place="here"))
    made = Feed(link, SimpleNamespace(), channel, SUBSCRIPTION)
    made._tapped = True
    return made


async def took(feed, count):
    """Let messages arrive, and receive them."""
    for tag in range(1, count + 1):
        feed._take(Delivery(tag, False, "orders.events", "placed", b"\x00\x00", b"x"))
    return await feed.receive()


def written(feed):
    """Give the acks that were written: (tag, multiple)."""
    found = []
    while not feed._channel.write_queue.empty():
        data = feed._channel.write_queue.get_nowait().payload
        for at in range(0, len(data), 21):
            kind, channel, size, cls, method, tag, multiple, end = struct.unpack_from(">BHIHHQBB", data, at)
            assert (kind, channel, size, cls, method, end) == (1, 3, 13, 60, 80, 0xCE)
            found.append((tag, multiple))
    return found


async def test_all_that_arrived_is_acknowledged_by_one_frame(feed):
    events = await took(feed, 5)
    await feed.ack(events)
    assert written(feed) == [(5, 1)]


async def test_an_ack_never_covers_an_event_that_is_not_settled(feed):
    one, two, three, four, five = await took(feed, 5)
    await feed.ack([one, two, four])
    assert sorted(written(feed)) == [(2, 1), (4, 0)]
    await feed.ack([five])
    assert written(feed) == [(5, 0)]
    await feed.ack([three])
    assert written(feed) == [(3, 1)]


async def test_an_ack_never_covers_what_waits_to_be_received(feed):
    events = await took(feed, 2)
    feed._take(Delivery(3, False, "orders.events", "placed", b"\x00\x00", b"x"))
    await feed.ack(events)
    assert written(feed) == [(2, 1)]


async def test_an_event_is_acknowledged_once(feed):
    events = await took(feed, 1)
    await feed.ack(events)
    await feed.ack(events)
    assert written(feed) == [(1, 1)]


async def test_a_lost_feed_gives_nothing_more_and_takes_no_acks(feed):
    events = await took(feed, 1)
    waiting = asyncio.create_task(feed.receive())
    await asyncio.sleep(0)
    feed.lost(ConnectionResetError("cut"))
    with pytest.raises(TransientError, match="cut"):
        await waiting
    with pytest.raises(TransientError):
        await feed.ack(events)


async def test_a_receive_that_is_cancelled_loses_nothing(feed):
    waiting = asyncio.create_task(feed.receive())
    await asyncio.sleep(0)
    feed._take(Delivery(1, False, "orders.events", "placed", b"\x00\x00", b"x"))
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert [event.raw for event in await feed.receive()] == [b"x"]


async def test_acks_that_cannot_be_written_end_the_feed_for_they_would_hold_its_prefetch(feed):
    events = await took(feed, 1)
    feed._channel.write_queue = asyncio.Queue(1)
    feed._channel.write_queue.put_nowait(None)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await feed.ack(events)
    with pytest.raises(TransientError):
        await feed.receive()


def ack(number, multiple=0, method=80):
    return struct.pack(">HHQB", 60, method, number, multiple)


async def expected(answers, count, body=b"body"):
    copies = [Copy("", "queue", b"\x00\x00", body + bytes([number])) for number in range(count)]
    for copy in copies:
        answers.expect(copy)
    return copies


async def test_confirms_settle_their_copies_one_by_one_or_many_at_once():
    answers = Answers()
    one, two, three, four = await expected(answers, 4)
    answers.method(ack(2))
    assert (one.done.done(), two.done.done()) == (False, True)
    answers.method(ack(3, multiple=1))
    assert (one.done.result(), three.done.result(), four.done.done()) == (None, None, False)
    answers.method(ack(4, method=120))
    with pytest.raises(TransientError, match=r"basic\.nack"):
        await four.done


async def test_a_copy_that_came_back_is_not_delivered_though_rabbitmq_confirms_it():
    answers = Answers()
    one, two = await expected(answers, 2)
    answers.method(b"\x00\x3c\x00\x32" + b"\x01\x38\x08NO_ROUTE\x00\x05queue")
    answers.header(struct.pack(">HHQ", 60, 0, len(two.body)) + two.properties)
    answers.body(two.body)
    answers.method(ack(2, multiple=1))
    assert one.done.result() is None
    with pytest.raises(Unroutable):
        await two.done


async def test_copies_fail_with_their_channel_and_none_is_waited_for_afterwards():
    answers = Answers()
    (one,) = await expected(answers, 1)
    answers.fail(TransientError("gone"))
    with pytest.raises(TransientError, match="gone"):
        await one.done
    with pytest.raises(TransientError, match="gone"):
        await expected(answers, 1)


def test_a_delivery_that_timed_out_in_rabbitmq_names_the_setting():
    error = ConnectionError("PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out")
    assert "consumer_timeout" in str(refusals.lost(error, "here"))


def test_an_error_that_is_classified_stays_as_it_is():
    error = DestinationRefused("as it is")
    assert refusals.declaring(error, "here", "the queue", "") is error


@pytest.mark.parametrize(
    "kind", [aiormq.ChannelLockedResource, aiormq.ChannelPreconditionFailed, aiormq.ChannelAccessRefused]
)
def test_the_brokers_words_and_the_advice_are_sentences_with_one_full_stop_each(kind):
    text = str(
        refusals.declaring(kind("RESOURCE_LOCKED - does not match that of the original."), "here", "it", "Mend it.")
    )
    assert "RESOURCE_LOCKED - does not match that of the original. " in text
    assert ".." not in text

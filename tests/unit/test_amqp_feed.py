"""amqp/feed.py: acks in as few frames as possible, and what becomes of a feed that is lost."""

import asyncio
import struct
from types import SimpleNamespace

import aiormq.exceptions as aiormq
import pytest

from evbus_like.amqp import failures
from evbus_like.amqp.connection import Channel
from evbus_like.amqp.deliveries import Delivery
from evbus_like.amqp.feed import Feed
from evbus_like.engine.errors import DestinationRefused, TransientError
from evbus_like.engine.receiving.subscription import Subscription

SUBSCRIPTION = Subscription("orders", ("placed",), "shipping", "ship")


@pytest.fixture
async def feed():
    """A feed whose channel writes to a queue."""
    connection = SimpleNamespace(target=SimpleNamespace(place="here"))
    channel = SimpleNamespace(number=3, max_content_size=1000, write_queue=asyncio.Queue())
    return Feed(Channel(connection, channel), SUBSCRIPTION)


async def received(feed, count):
    """Let messages arrive, and receive them."""
    for tag in range(1, count + 1):
        feed.deliver(Delivery(tag, False, "orders.events", "placed", b"\x00\x00", b"x"))
    return await feed.receive()


def written(feed):
    """Give the acks that were written: (tag, multiple)."""
    found = []
    while not feed._channel.aiormq.write_queue.empty():
        data = feed._channel.aiormq.write_queue.get_nowait().payload
        for at in range(0, len(data), 21):
            kind, channel, size, cls, method, tag, multiple, end = struct.unpack_from(">BHIHHQBB", data, at)
            assert (kind, channel, size, cls, method, end) == (1, 3, 13, 60, 80, 0xCE)
            found.append((tag, multiple))
    return found


async def test_one_frame_acknowledges_all_that_arrived(feed):
    events = await received(feed, 5)
    await feed.ack(events)
    assert written(feed) == [(5, 1)]


async def test_an_ack_never_covers_an_event_that_is_not_settled(feed):
    one, two, three, four, five = await received(feed, 5)
    await feed.ack([one, two, four])
    assert sorted(written(feed)) == [(2, 1), (4, 0)]
    await feed.ack([five])
    assert written(feed) == [(5, 0)]
    await feed.ack([three])
    assert written(feed) == [(3, 1)]


async def test_an_ack_never_covers_an_event_that_is_not_received_yet(feed):
    events = await received(feed, 2)
    feed.deliver(Delivery(3, False, "orders.events", "placed", b"\x00\x00", b"x"))
    await feed.ack(events)
    assert written(feed) == [(2, 1)]


async def test_an_event_is_acknowledged_once(feed):
    events = await received(feed, 1)
    await feed.ack(events)
    await feed.ack(events)
    assert written(feed) == [(1, 1)]


async def test_receive_and_ack_raise_once_a_feed_is_lost(feed):
    events = await received(feed, 1)
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
    feed.deliver(Delivery(1, False, "orders.events", "placed", b"\x00\x00", b"x"))
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert [event.raw for event in await feed.receive()] == [b"x"]


async def test_acks_that_cannot_be_written_end_the_feed_because_they_would_use_up_its_prefetch(feed):
    events = await received(feed, 1)
    feed._channel.aiormq.write_queue = asyncio.Queue(1)
    feed._channel.aiormq.write_queue.put_nowait(None)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await feed.ack(events)
    with pytest.raises(TransientError):
        await feed.receive()


def test_the_error_of_a_delivery_that_timed_out_names_the_setting():
    error = ConnectionError("PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out")
    assert "consumer_timeout" in str(failures.lost(error, "here"))


def test_a_delivery_error_is_not_classified_again():
    error = DestinationRefused("as it is")
    assert failures.declaring(error, "here", "the queue", "") is error


@pytest.mark.parametrize(
    "kind", [aiormq.ChannelLockedResource, aiormq.ChannelPreconditionFailed, aiormq.ChannelAccessRefused]
)
def test_the_brokers_words_and_the_advice_are_sentences_with_one_full_stop_each(kind):
    text = str(
        failures.declaring(kind("RESOURCE_LOCKED - does not match that of the original."), "here", "it", "Mend it.")
    )
    assert "RESOURCE_LOCKED - does not match that of the original. " in text
    assert ".." not in text

"""amqp/feed.py: acks in as few frames as possible, and what becomes of a feed that is lost."""

import asyncio
import struct
from types import SimpleNamespace

import aiormq.exceptions as aiormq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evbus_like.amqp import failures
from evbus_like.amqp.connection import Channel
from evbus_like.amqp.deliveries import Delivery
from evbus_like.amqp.feed import Feed
from evbus_like.engine.errors import DestinationRefused, TransientError
from evbus_like.engine.receiving.subscription import Subscription

SUBSCRIPTION = Subscription("orders", ("placed",), "shipping", "ship", prefetch=20)


@pytest.fixture
async def feed():
    """A feed whose connection keeps what is written."""
    written = []
    here = SimpleNamespace(place="here")
    connection = SimpleNamespace(target=here, write_now=written.append, written=written, closed=None)
    return Feed(Channel(connection, SimpleNamespace(number=3, max_content_size=1000)), SUBSCRIPTION)


async def received(feed, count):
    """Let messages arrive, and receive them."""
    for tag in range(1, count + 1):
        feed.deliver(Delivery(tag, False, "orders.events", "placed", b"\x00\x00", b"x"))
    return await feed.receive()


def written(feed):
    """Give the acks that were written: (tag, multiple)."""
    return [(tag, flags) for method, tag, flags in frames(feed) if method == 80]


def frames(feed):
    """Give the frames that were written, in order: (method, tag, flags)."""
    found = []
    data = b"".join(feed._channel.connection.written)
    feed._channel.connection.written.clear()
    for at in range(0, len(data), 21):
        kind, channel, size, cls, method, tag, flags, end = struct.unpack_from(">BHIHHQBB", data, at)
        assert (kind, channel, size, cls, end) == (1, 3, 13, 60, 0xCE)
        found.append((method, tag, flags))
    return found


async def test_one_frame_acknowledges_all_that_arrived(feed):
    events = await received(feed, 5)
    feed.ack(events)
    assert written(feed) == [(5, 1)]


async def test_an_ack_never_covers_an_event_that_is_not_settled(feed):
    one, two, three, four, five = await received(feed, 5)
    feed.ack([one, two, four])
    assert sorted(written(feed)) == [(2, 1), (4, 0)]
    feed.ack([five])
    assert written(feed) == [(5, 0)]
    feed.ack([three])
    assert written(feed) == [(3, 1)]


async def test_an_ack_never_covers_an_event_that_is_not_received_yet(feed):
    events = await received(feed, 2)
    feed.deliver(Delivery(3, False, "orders.events", "placed", b"\x00\x00", b"x"))
    feed.ack(events)
    assert written(feed) == [(2, 1)]


async def test_an_event_is_acknowledged_once(feed):
    events = await received(feed, 1)
    feed.ack(events)
    feed.ack(events)
    assert written(feed) == [(1, 1)]


async def test_receive_and_ack_raise_once_a_feed_is_lost(feed):
    events = await received(feed, 1)
    waiting = asyncio.create_task(feed.receive())
    await asyncio.sleep(0)
    feed.lost(ConnectionResetError("cut"))
    with pytest.raises(TransientError, match="cut"):
        await waiting
    with pytest.raises(TransientError):
        feed.ack(events)


@pytest.mark.parametrize(
    ("closed", "said"),
    [
        (
            failures.Closed(320, "CONNECTION_FORCED - maintenance"),
            "here closed the connection: CONNECTION_FORCED - main",
        ),
        (failures.Closed(541, "INTERNAL_ERROR"), "the connection to RabbitMQ at here was lost: the connection ended"),
    ],
)
async def test_a_feed_that_is_lost_says_with_the_words_of_rabbitmq_that_a_node_or_an_operator_ended_it(
    feed, closed, said
):
    feed._channel.connection.closed = closed
    feed.lost(None)
    with pytest.raises(TransientError, match=said):
        await feed.receive()


async def test_a_receive_that_is_cancelled_loses_nothing(feed):
    waiting = asyncio.create_task(feed.receive())
    await asyncio.sleep(0)
    feed.deliver(Delivery(1, False, "orders.events", "placed", b"\x00\x00", b"x"))
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert [event.raw for event in await feed.receive()] == [b"x"]


async def test_an_ack_never_overtakes_the_nack_of_an_event_below_it(feed):
    one, two, three = await received(feed, 3)
    feed.requeue(two)
    feed.ack([one, three])
    assert frames(feed) == [(120, 2, 2), (80, 3, 1)]


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 40)), max_size=60), st.integers(1, 40))
async def test_rabbitmq_never_takes_an_event_as_handled_that_was_given_back_and_knows_every_tag(steps, count):
    connection = SimpleNamespace(target=SimpleNamespace(place="here"), written=[])
    connection.write_now = connection.written.append
    feed = Feed(Channel(connection, SimpleNamespace(number=3, max_content_size=1000)), SUBSCRIPTION)
    events = {event.token.tag: event for event in await received(feed, count)}
    handled, given_back = set(), set()
    for acks, tag in steps:  # in any order, some twice
        if tag in events:
            (feed.ack([events[tag]]) if acks else feed.requeue(events[tag]))
            (handled if acks else given_back).add(tag) if tag not in handled | given_back else None
    held, acked, returned = set(events), set(), set()
    for method, tag, flags in frames(feed):
        assert tag in held, "unknown delivery tag"
        settled = {each for each in held if each <= tag} if method == 80 and flags else {tag}
        held -= settled
        (acked if method == 80 else returned).update(settled)
    assert (acked, returned) == (handled, given_back)


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


async def test_a_broker_that_sends_far_more_than_the_prefetch_is_disconnected(feed):
    why = []
    feed._channel.connection.break_off = why.append
    await received(feed, 2 * SUBSCRIPTION.prefetch)
    assert why == []
    feed.deliver(Delivery(10_000, False, "orders.events", "placed", b"\x00\x00", b"x"))
    (line,) = why
    assert f"its prefetch is {SUBSCRIPTION.prefetch}" in line

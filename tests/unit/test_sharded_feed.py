"""The feed of a handler with shards, with channels and other workers played by the test."""

import asyncio

import pytest

from evbus_like.amqp.sharded_feed import ShardedFeed
from evbus_like.amqp.sharing import Member
from evbus_like.engine.errors import TransientError
from evbus_like.engine.receiving.handler import HandlerOptions
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.receiving.subscription import Subscription
from evbus_like.testing import eventually
from tests.unit.fakes import HANG

ASKED = Subscription("orders", ("placed",), "shop", "ship", shards=4)


class Token:
    feed = None


class Channel:
    """The feed of one shard."""

    def __init__(self, wake):
        self.wake, self.arrived, self.acked, self.ended = wake, [], [], False

    def deliver(self, *keys):
        self.arrived += [ReceivedEvent(b"", "placed", key=key, token=Token()) for key in keys]
        self.wake()

    def take(self):
        taken, self.arrived = self.arrived, []
        return taken

    def ack(self, events):
        self.acked += events

    async def end(self):
        self.ended = True


class Others:
    """The other workers."""

    id, place = "me", "rabbit:5672"

    def __init__(self):
        self.others, self.said, self._changed = [], [], asyncio.Event()

    async def open(self, lost):
        self.lost = lost

    def come(self, *members):
        self.others = list(members)
        self._changed.set()

    async def wait(self, seconds):
        try:
            async with asyncio.timeout(0.01):
                await self._changed.wait()
        except TimeoutError:
            pass
        self._changed.clear()

    async def say(self, shards):
        self.said.append(sorted(shards))

    async def close(self):
        self.said.append("left")


@pytest.fixture
async def worker():
    """A feed that reads all four shards, its channels and the other workers."""
    channels, others = {}, Others()

    async def read(number, wake):
        channels[number] = Channel(wake)
        return channels[number]

    feed = ShardedFeed(ASKED, 4, read, others)
    await feed.start()
    await eventually(lambda: feed.shards == [0, 1, 2, 3])
    yield feed, channels, others
    await feed.end()
    assert others.said[-1] == "left"


async def test_events_of_all_shards_are_received_with_their_key_as_their_order(worker):
    feed, channels, _ = worker
    channels[2].deliver("a", "b", None)
    events = await feed.receive()
    assert [event.order for event in events] == ["a", "b", "placed"]
    feed.ack(events)
    assert channels[2].acked == events


async def test_a_shard_is_given_up_when_the_handlers_under_way_with_its_events_are_done(worker):
    feed, channels, others = worker
    channels[3].deliver("a", "b")
    running, waiting = await feed.receive()
    running.busy = True
    # When another worker comes
    others.come(Member("other", frozenset(), 4))
    await eventually(lambda: waiting.revoked)
    await asyncio.sleep(0.1)
    # Then the shard without a handler under way moves, and the other one stays until that is done
    assert (channels[2].ended, channels[3].ended, running.revoked) == (True, False, False)
    channels[3].deliver("c")
    feed.ack([running])
    await eventually(lambda: channels[3].ended)
    assert channels[3].acked == [running]
    assert feed.shards == [0, 1]
    assert others.said[-1] == [0, 1]
    # And what was not begun is settled no more
    feed.ack([waiting])
    assert channels[3].acked == [running]


async def test_a_lost_channel_ends_the_feed(worker):
    feed, channels, _ = worker

    def lost():
        raise TransientError("lost")

    receiving = asyncio.create_task(feed.receive())
    channels[1].take = lost
    channels[1].wake()
    with pytest.raises(TransientError, match="lost"):
        await receiving


async def test_an_end_that_is_not_waited_for_still_gives_up_all_shards_and_tells_the_others(worker):
    feed, channels, others = worker
    running = asyncio.Event()

    async def slowly(*_):
        try:
            await running.wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0.1)  # as where a connection must be closed first
            raise

    others.wait = slowly
    await asyncio.sleep(0.05)
    # When its end takes longer than the consumer waits
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await feed.end()
    # Then no shard is kept, and the other workers know it
    assert [channel.ended for channel in channels.values()] == [True] * 4
    assert (feed.shards, others.said[-1]) == ([], "left")


async def test_a_shard_that_is_opened_after_the_connection_was_lost_is_given_up():
    # Given a worker that waits for its first shard
    channels, others, opening = {}, Others(), asyncio.Event()

    async def read(number, wake):
        await opening.wait()
        channels[number] = Channel(wake)
        return channels[number]

    feed = ShardedFeed(ASKED, 4, read, others)
    await feed.start()
    await asyncio.sleep(0.05)
    # When its connection is lost, and the shard comes over the next one
    others.lost(ConnectionError("gone"))
    opening.set()
    await eventually(lambda: len(channels) == 4)
    # Then it does not keep them: nobody would handle their events
    await eventually(lambda: all(channel.ended for channel in channels.values()))
    assert feed.shards == []
    await feed.end()


async def test_a_lost_channel_of_announcements_ends_the_feed(worker):
    feed, _, others = worker
    receiving = asyncio.create_task(feed.receive())
    await asyncio.sleep(0)
    others.lost(ConnectionError("reset"))
    with pytest.raises(TransientError, match=r"rabbit:5672 was lost.*reset"):
        await receiving
    assert not feed.is_open


async def test_a_wait_that_the_client_library_cancels_ends_the_feed(worker):
    feed, _, others = worker
    receiving = asyncio.create_task(feed.receive())

    async def cancelled(shards):
        raise asyncio.CancelledError

    others.say = cancelled
    others.come(Member("other", frozenset(), 4))
    with pytest.raises(TransientError):
        await asyncio.wait_for(receiving, HANG)
    assert not feed.is_open
    del others.say  # so that the end of the fixture can say it


async def test_a_share_that_the_client_library_cancels_ends_the_feed(worker):
    feed, _, others = worker
    receiving = asyncio.create_task(feed.receive())

    async def cancelled(seconds):
        raise asyncio.CancelledError

    others.wait = cancelled
    with pytest.raises(TransientError):
        await asyncio.wait_for(receiving, HANG)
    assert not feed.is_open


@pytest.mark.parametrize("shards", [0, -1, True, "3", 257, 2.0])
def test_shards_are_a_whole_number(shards):
    assert (
        "shards must be a whole number from 1 to 256" in HandlerOptions("orders", ("placed",), shards=shards).problem()
    )


def test_shards_are_for_reliable_handlers_that_share_events():
    assert "BROADCAST" in HandlerOptions("orders", ("placed",), shards=2, delivery="broadcast").problem()
    assert "reliable=True" in HandlerOptions("orders", ("placed",), shards=2, reliable=False).problem()

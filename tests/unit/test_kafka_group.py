"""kafka/group.py with a made-up coordinator: what a rebalance waits for, forgets and commits."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace

import aiokafka
import pytest
from aiokafka import TopicPartition
from aiokafka import errors as kafka
from aiokafka.structs import OffsetAndMetadata

from evbus_like.engine.errors import DestinationRefused, TransientError
from evbus_like.engine.receiving.subscription import Subscription
from evbus_like.kafka import closing, group, internals
from evbus_like.kafka.feed import Feed
from evbus_like.kafka.settings import settings

P, Q = TopicPartition("orders.events", 0), TopicPartition("orders.events", 1)


class Coordinator:
    """Keeps what is committed, and a log of the questions; `failure` is raised by the next commit."""

    generation = 7
    coordinator_id = 1

    def __init__(self):
        self.committed, self.log, self.failure = {}, [], None

    async def fetch_committed_offsets(self, places):
        self.log.append("committed?")
        await asyncio.sleep(0)
        return {place: OffsetAndMetadata(self.committed[place], "") for place in places if place in self.committed}

    async def commit_offsets(self, assignment, offsets):
        self.log.append("commit")
        if self.failure is not None:
            raise self.failure
        self.committed |= {place: each.offset for place, each in offsets.items()}

    def check_errors(self):
        pass


@pytest.fixture
async def feed(monkeypatch):
    monkeypatch.setattr(closing, "leave", None)
    made = Feed(settings({"timeout": 0.6}), Subscription("orders", ("created",), "shipping", "ship"))
    made.kafka._coordinator = Coordinator()
    made.places = lambda: [P, Q]
    yield made
    made.kafka._closed = True


def lookup(feed, ends):
    """Let the consumer look up these ends, and note when it does."""

    async def end_offsets(places):
        feed.kafka._coordinator.log.append("ends?")
        return {place: ends[place] for place in places}

    async def beginning_offsets(places):
        return dict.fromkeys(places, 0)

    feed.kafka.end_offsets, feed.kafka.beginning_offsets = end_offsets, beginning_offsets


def received(feed, *offsets, place=P):
    """Let records be received; gives their events."""
    where = {"topic": place.topic, "partition": place.partition}
    what = {"key": b"created", "value": b"", "headers": (), "timestamp": 0}
    records = [SimpleNamespace(**where, **what, offset=offset) for offset in offsets]
    return feed._events({place: records})


@pytest.mark.parametrize(("instance", "generation", "warnings"), [("shop", -1, 1), ("shop", 4, 0), (None, -1, 0)])
async def test_a_static_member_that_another_one_replaced_says_so(feed, caplog, instance, generation, warnings):
    feed.settings = replace(feed.settings, instance=instance)
    feed.kafka._coordinator.generation = generation
    await feed._assignment.on_partitions_revoked({P})
    assert len(caplog.records) == warnings
    assert all("another process has the same group_instance_id" in each.message for each in caplog.records)


async def test_a_rebalance_waits_for_running_handlers_and_commits_their_events(feed):
    first, second, third = received(feed, 0, 1, 2)
    first.busy = True
    membership, coordinator = feed._assignment, feed.kafka._coordinator
    revoking = asyncio.create_task(membership.on_partitions_revoked({P, Q}))
    await asyncio.sleep(0.1)
    assert not revoking.done()
    assert (first.revoked, second.revoked, third.revoked) == (False, True, True)
    feed.ack([first])
    await revoking
    assert coordinator.committed == {P: 1}


async def test_an_event_settled_after_a_rebalance_is_not_committed(feed):
    (slow,) = received(feed, 5)
    slow.busy = True
    await feed._assignment.on_partitions_revoked({P})
    assert slow.revoked
    committed = dict(feed.kafka._coordinator.committed)
    feed.ack([slow])
    await feed._assignment._commit()
    assert feed.kafka._coordinator.committed == committed == {P: 5}


async def test_after_a_rebalance_an_event_is_neither_requeued_nor_dead_lettered(feed):
    (slow,) = received(feed, 5)
    slow.busy = True
    await feed._assignment.on_partitions_revoked({P})
    feed.requeue(slow)
    await feed.dead(slow, "no reason")  # would connect
    assert feed._requeued == []


async def test_a_requeued_event_is_forgotten_with_its_partition(feed):
    (mine,) = received(feed, 5)
    (other,) = received(feed, 9, place=Q)
    feed.requeue(mine)
    feed.requeue(other)
    feed.forget([P])
    assert [event.token[1].offset for event in feed._requeued] == [9]


async def test_a_member_that_was_expelled_does_not_wait_for_handlers(feed):
    (slow,) = received(feed, 5)
    slow.busy = True
    feed.settings = replace(feed.settings, timeout=120.0)
    feed.kafka._coordinator.generation = -1
    async with asyncio.timeout(5):
        await feed._assignment.on_partitions_revoked({P})


async def test_a_failed_commit_in_a_rebalance_loses_the_feed_and_forgets_its_partitions(feed):
    (event,) = received(feed, 5)
    feed.ack([event])
    feed.kafka._coordinator.failure = kafka.GroupAuthorizationFailedError("g")
    await feed._assignment.on_partitions_revoked({P})
    assert list(feed.offsets) == []
    with pytest.raises(Exception, match="GROUP_AUTHORIZATION_FAILED"):
        feed.check()


async def test_a_commit_that_the_group_does_not_take_is_due_again(feed):
    feed.ack(received(feed, 5))
    feed.kafka._coordinator.failure = kafka.CommitFailedError("rebalanced")
    await feed._assignment._commit()
    feed.kafka._coordinator.failure = None
    await feed._assignment._commit()
    assert feed.kafka._coordinator.committed == {P: 6}


async def test_a_commit_without_an_answer_does_not_hold_up_the_next(feed, monkeypatch):
    monkeypatch.setattr(group, "COMMIT_WAIT", 0.05)
    feed.ack(received(feed, 5))

    async def never(assignment, offsets):
        await asyncio.sleep(3600)

    answering, feed.kafka._coordinator.commit_offsets = feed.kafka._coordinator.commit_offsets, never
    await feed._assignment._commit()
    feed.kafka._coordinator.commit_offsets = answering
    await feed._assignment._commit()
    assert feed.kafka._coordinator.committed == {P: 6}


async def test_a_new_group_looks_up_the_ends_before_it_looks_a_last_time_at_what_others_committed(feed):
    """Who looks the other way round passes over what is published in between."""
    lookup(feed, {P: 10, Q: 20})
    await feed._assignment.on_partitions_assigned({P})
    log = feed.kafka._coordinator.log
    assert log[log.index("ends?") :] == ["ends?", "committed?", "commit"]
    assert feed.kafka._coordinator.committed == {P: 10, Q: 20}


async def test_what_another_member_commits_meanwhile_is_left_as_it_is(feed):
    coordinator = feed.kafka._coordinator
    lookup(feed, {P: 12, Q: 20})
    look_up = feed.kafka.end_offsets

    async def end_offsets(places):
        coordinator.committed |= {P: 10, Q: 20}
        return await look_up(places)

    feed.kafka.end_offsets = end_offsets
    await feed._assignment.on_partitions_assigned({P})
    assert coordinator.committed == {P: 10, Q: 20}


@pytest.mark.parametrize("others", [{}, {P: 10, Q: 20}], ids=["by itself", "by another member"])
async def test_a_member_reads_at_once_where_its_new_group_begins_and_leaves_the_partitions_of_others(feed, others):
    """aiokafka has found no offset meanwhile, and would look for it again, a while later."""
    lookup(feed, {P: 10, Q: 20})
    look_up = feed.kafka.end_offsets

    async def end_offsets(places):
        feed.kafka._coordinator.committed |= others
        return await look_up(places)

    feed.kafka.end_offsets = end_offsets
    begun = {}
    feed.kafka.assignment, feed.kafka.seek = lambda: {P}, begun.__setitem__
    await feed._assignment.on_partitions_assigned({P})
    assert begun == {P: 10}
    feed.check()


async def test_a_group_that_has_an_offset_is_read_from_there(feed):
    lookup(feed, {P: 10, Q: 20})
    feed.kafka._coordinator.committed = {P: 4, Q: 5}
    feed.kafka.assignment, feed.kafka.seek = lambda: {P}, None
    await feed._assignment.on_partitions_assigned({P})
    feed.check()


async def test_a_partition_that_a_topic_got_later_is_begun_at_its_beginning(feed):
    lookup(feed, {P: 10, Q: 20})
    feed.kafka._coordinator.committed[P] = 4
    await feed._assignment.on_partitions_assigned({P})
    assert feed.kafka._coordinator.committed == {P: 4, Q: 0}


async def test_a_group_without_partitions_for_too_long_is_a_lost_feed(feed, monkeypatch):
    feed._assignment.check()
    monkeypatch.setattr(group, "monotonic", lambda: 1e12)
    with pytest.raises(TransientError, match="no partitions"):
        feed.check()


async def test_where_to_begin_cannot_be_committed_the_feed_is_lost(feed):
    lookup(feed, {P: 10, Q: 20})
    feed.kafka._coordinator.failure = kafka.GroupAuthorizationFailedError("g")
    await feed._assignment.on_partitions_assigned({P})
    with pytest.raises(Exception, match="GROUP_AUTHORIZATION_FAILED"):
        feed.check()


async def test_another_release_of_aiokafka_that_lacks_a_part_is_refused_with_the_supported_one(feed, monkeypatch):
    producer = aiokafka.AIOKafkaProducer()
    internals.check_producer(producer)
    monkeypatch.delattr(producer.client, "_conns")
    with pytest.raises(DestinationRefused, match=r"has no _conns: install aiokafka 0\.14"):
        internals.check_producer(producer)
    producer._closed = True
    feed.kafka._fetcher = SimpleNamespace(_fetch_task=None)
    with pytest.raises(DestinationRefused, match="SimpleNamespace has no _pending_tasks"):
        internals._check(feed.kafka._fetcher, internals.FETCHER_TASKS)


async def test_a_record_is_settled_only_when_its_dead_letter_is_safe(feed):
    (event,) = received(feed, 0)
    safe = asyncio.Event()

    async def put(topic, record, dead_letter_headers):
        await safe.wait()

    feed._dead_letters.put = put
    task = asyncio.create_task(feed.dead(event, "no"))
    await asyncio.sleep(0.01)
    assert feed.offsets.due() == {P: 0}
    safe.set()
    await task
    assert feed.offsets.due() == {P: 1}

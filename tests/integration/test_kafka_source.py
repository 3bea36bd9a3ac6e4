"""Kafka as a source, in one process: what is handled, what is committed, and when."""

import asyncio
import time
from collections import defaultdict
from datetime import UTC, datetime

import aiokafka
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.admin.records_to_delete import RecordsToDelete

from evbus_like.engine.receiving.rules import REJECT, REQUEUE
from evbus_like.engine.receiving.subscription import BROADCAST, SINGLETON
from evbus_like.kafka import dead_letters
from evbus_like.kafka import feed as feed_module
from evbus_like.testing import eventually
from tests.integration.records import committed_offsets, group_names, publish, total_committed, wait_until_committed
from tests.integration.sources import handler, receiving, stats_of
from tests.integration.support import create_topic, read


def profiles(kafka, **options):
    return {"kafka": {"default": {"connection": {"bootstrap_servers": kafka.bootstrap}, **options}}}


class Taken:
    """A handler that keeps what it gets."""

    def __init__(self):
        self.events = []

    async def __call__(self, event):
        self.events.append(event)

    @property
    def bodies(self):
        return [event.body for event in self.events]


def taker(taken, source, *types, **options):
    async def take(event):
        await taken(event)

    return handler(take, source, types or ("created",), **options)


async def test_what_is_published_after_the_handlers_have_joined_is_handled(kafka, fresh_name):
    for _ in range(5):
        taken, source = Taken(), f"{fresh_name}-{time.time_ns()}"
        await create_topic(kafka.bootstrap, f"{source}.events")
        await publish(kafka.bootstrap, f"{source}.events", ["before"])
        async with receiving(profiles(kafka), taker(taken, source)):
            await publish(kafka.bootstrap, f"{source}.events", range(10))
            await eventually(lambda: len(taken.events) == 10)  # noqa: B023
        assert sorted(taken.bodies) == list(range(10))


async def test_an_event_says_what_and_where_from(kafka, fresh_name):
    taken = Taken()
    await create_topic(kafka.bootstrap, "t-" + fresh_name)
    async with receiving(profiles(kafka, topics=["t-" + fresh_name]), taker(taken, "orders", "user.*")):
        await publish(kafka.bootstrap, "t-" + fresh_name, [1], "user.created")
        await eventually(lambda: taken.events)
    (event,) = taken.events
    assert (event.id, event.routing_key, event.service, event.body) == ("id-1", "user.created", "orders", 1)
    assert (event.redelivered, event.attempt, event.headers) == (False, 1, {})
    assert time.time() - 60 < event.timestamp < time.time() + 1


async def test_records_that_nobody_wants_are_passed_over_and_committed(kafka, fresh_name):
    taken, topic = Taken(), f"{fresh_name}.events"
    await create_topic(kafka.bootstrap, topic)
    async with receiving(profiles(kafka), taker(taken, fresh_name)):
        await publish(kafka.bootstrap, topic, range(50), "deleted")
        await publish(kafka.bootstrap, topic, ["wanted"])
        await wait_until_committed(kafka.bootstrap, topic, f"evt-{fresh_name}-created--shipping.take", 51)
    assert taken.bodies == ["wanted"]


async def test_the_lag_is_how_many_records_are_not_settled_yet(kafka, fresh_name):
    go_on = asyncio.Event()

    async def wait(event):
        await go_on.wait()

    await create_topic(kafka.bootstrap, f"{fresh_name}.events", partitions=2)
    async with receiving(profiles(kafka), handler(wait, fresh_name, ("created",), max_workers=1)) as group:
        await publish(kafka.bootstrap, f"{fresh_name}.events", range(30))
        await eventually(lambda: stats_of(group)["lag"] == 30)
        go_on.set()
        await eventually(lambda: stats_of(group)["lag"] == 0)


async def test_a_record_is_committed_after_its_handler_and_not_before(kafka, fresh_name):
    topic, group, go_on = f"{fresh_name}.events", f"evt-{fresh_name}-created--shipping.take", asyncio.Event()
    await create_topic(kafka.bootstrap, topic, partitions=1)

    async def take(event):
        if event.body == 0:
            await go_on.wait()

    async with receiving(profiles(kafka), handler(take, fresh_name)) as group_of:
        await publish(kafka.bootstrap, topic, range(4))
        await eventually(lambda: stats_of(group_of)["handled"] == 3)
        await asyncio.sleep(0.6)  # several times the pause between commits
        assert await committed_offsets(kafka.bootstrap, topic, group) == {0: 0}
        go_on.set()
        await wait_until_committed(kafka.bootstrap, topic, group, 4)


async def test_a_stop_commits_what_was_handled_a_moment_ago(kafka, fresh_name):
    taken, topic, group = Taken(), f"{fresh_name}.events", f"evt-{fresh_name}-created--shipping.take"
    await create_topic(kafka.bootstrap, topic)
    async with receiving(profiles(kafka), taker(taken, fresh_name)):
        await publish(kafka.bootstrap, topic, range(20))
        await eventually(lambda: len(taken.events) == 20)
    assert await total_committed(kafka.bootstrap, topic, group) == 20


async def test_events_that_come_while_nobody_receives_are_kept_for_a_reliable_handler(kafka, fresh_name):
    taken, topic = Taken(), f"{fresh_name}.events"
    await create_topic(kafka.bootstrap, topic)
    async with receiving(profiles(kafka), taker(taken, fresh_name)):
        pass
    await publish(kafka.bootstrap, topic, range(3))
    async with receiving(profiles(kafka), taker(taken, fresh_name)):
        await eventually(lambda: len(taken.events) == 3)


@pytest.mark.parametrize("delivery", ["service_pool", SINGLETON, BROADCAST])
async def test_events_that_come_while_nobody_receives_are_not_kept_for_an_unreliable_handler(
    kafka, fresh_name, delivery
):
    taken, topic = Taken(), f"{fresh_name}.events"
    await create_topic(kafka.bootstrap, topic)
    made = taker(taken, fresh_name, reliable=False, delivery=delivery)
    for last in ("first", "second"):
        await publish(kafka.bootstrap, topic, ["nobody is there"])
        async with receiving(profiles(kafka), made):
            await publish(kafka.bootstrap, topic, [last])
            await eventually(lambda: last in taken.bodies)  # noqa: B023
    assert taken.bodies == ["first", "second"]


async def test_an_unreliable_broadcast_needs_no_group(kafka, fresh_name):
    taken = [Taken(), Taken()]
    topic = f"{fresh_name}.events"
    await create_topic(kafka.bootstrap, topic)
    made = [
        taker(each, fresh_name, reliable=False, delivery=BROADCAST, name=f"take{number}")
        for number, each in enumerate(taken)
    ]
    async with receiving(profiles(kafka), *made):
        await publish(kafka.bootstrap, topic, range(10))
        await eventually(lambda: all(len(each.events) == 10 for each in taken))
        assert not any(fresh_name in name for name in await group_names(kafka.bootstrap))


async def test_a_broadcast_with_an_identifier_keeps_its_place(kafka, fresh_name):
    taken, topic = Taken(), f"{fresh_name}.events"
    await create_topic(kafka.bootstrap, topic)
    made = taker(taken, fresh_name, delivery=BROADCAST, broadcast_identifier="host-1")
    async with receiving(profiles(kafka), made):
        await publish(kafka.bootstrap, topic, ["a"])
        await eventually(lambda: taken.bodies == ["a"])
    await publish(kafka.bootstrap, topic, ["b"])
    async with receiving(profiles(kafka), made):
        await eventually(lambda: taken.bodies == ["a", "b"])


@pytest.mark.parametrize("since", ["earliest", "offset", "time"])
async def test_a_new_group_begins_where_since_says_and_later_where_it_was(kafka, fresh_name, since):
    taken, topic = Taken(), f"{fresh_name}.events"
    await create_topic(kafka.bootstrap, topic, partitions=1)
    await publish(kafka.bootstrap, topic, range(5))
    await asyncio.sleep(0.05)
    place = {"earliest": "earliest", "offset": 5, "time": datetime.now(UTC)}[since]
    await publish(kafka.bootstrap, topic, range(5, 10))
    made = taker(taken, fresh_name, since=place)
    async with receiving(profiles(kafka), made):
        expected = list(range(10)) if since == "earliest" else list(range(5, 10))
        await eventually(lambda: sorted(taken.bodies) == expected)
    async with receiving(profiles(kafka), made):
        await publish(kafka.bootstrap, topic, ["last"])
        await eventually(lambda: len(taken.events) == len(expected) + 1)
    assert taken.bodies[-1] == "last"


async def test_a_topic_that_does_not_exist_yet_is_waited_for_and_read_from_its_beginning(strict_kafka, fresh_name):
    taken, topic = Taken(), f"{fresh_name}.events"
    async with receiving(profiles(strict_kafka), taker(taken, fresh_name)) as group:
        assert stats_of(group)["state"] == "open"
        await create_topic(strict_kafka.bootstrap, topic)
        await publish(strict_kafka.bootstrap, topic, range(20))
        await eventually(lambda: len(taken.events) == 20)
        assert stats_of(group)["trouble"] == ""


async def test_a_missing_topic_is_logged_once_for_all_handlers_that_wait_for_it(strict_kafka, fresh_name, caplog):
    handlers = [taker(Taken(), fresh_name, name=f"take{number}") for number in range(3)]
    async with receiving(profiles(strict_kafka), *handlers):
        pass
    told = [each for each in caplog.messages if "does not exist at Kafka" in each]
    assert len(told) == 1


async def test_an_unreliable_broadcast_waits_for_its_topic_too(strict_kafka, fresh_name):
    taken, topic = Taken(), f"{fresh_name}.events"
    made = taker(taken, fresh_name, delivery=BROADCAST, reliable=False)
    async with receiving(profiles(strict_kafka), made):
        await create_topic(strict_kafka.bootstrap, topic)
        await publish(strict_kafka.bootstrap, topic, range(20))
        await eventually(lambda: len(taken.events) == 20)


@pytest.mark.parametrize("options", [{}, {"delivery": BROADCAST, "reliable": False}])
async def test_a_new_partition_is_read_from_its_beginning(kafka, fresh_name, options, monkeypatch):
    monkeypatch.setattr(feed_module, "REFRESH", 0.5)
    taken, topic = Taken(), f"{fresh_name}.events"
    await create_topic(kafka.bootstrap, topic, partitions=1)
    async with receiving(profiles(kafka), taker(taken, fresh_name, **options)):
        await publish(kafka.bootstrap, topic, ["old"])
        await eventually(lambda: taken.bodies == ["old"])
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
        await admin.start()
        await admin.create_partitions({topic: NewPartitions(3)})
        await admin.close()
        await publish(kafka.bootstrap, topic, range(100))
        await eventually(lambda: len(taken.events) == 101)
    assert len(set(taken.bodies)) == 101


async def test_reading_goes_on_where_records_were_deleted_before_they_were_read(kafka, fresh_name):
    taken, topic = Taken(), f"{fresh_name}.events"
    await create_topic(kafka.bootstrap, topic, partitions=1)
    async with receiving(profiles(kafka), taker(taken, fresh_name)):
        pass
    await publish(kafka.bootstrap, topic, range(10))
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    await admin.delete_records({aiokafka.TopicPartition(topic, 0): RecordsToDelete(before_offset=6)})
    await admin.close()
    async with receiving(profiles(kafka), taker(taken, fresh_name)):
        await eventually(lambda: len(taken.events) == 4)
        assert sorted(taken.bodies) == [6, 7, 8, 9]
        await wait_until_committed(kafka.bootstrap, topic, f"evt-{fresh_name}-created--shipping.take", 10)


async def test_events_of_one_key_are_handled_in_order_and_those_of_others_meanwhile(kafka, fresh_name):
    seen, running, most = defaultdict(list), 0, 0
    topic = f"{fresh_name}.events"
    await create_topic(kafka.bootstrap, topic)

    async def take(event):
        nonlocal running, most
        running += 1
        most = max(most, running)
        key, number = event.body.split(":")
        await asyncio.sleep(0.001 * (hash(event.body) % 7))
        if number == "3" and event.attempt == 1:
            running -= 1
            raise ValueError("once more")
        seen[key].append(int(number))
        running -= 1

    bodies = [f"{key}:{number}" for number in range(20) for key in "abcdefgh"]
    async with receiving(profiles(kafka), handler(take, fresh_name, prefetch=100, backoff=0.05)):
        await publish(kafka.bootstrap, topic, bodies, key=lambda body: body[0])
        await eventually(lambda: sum(map(len, seen.values())) == len(bodies))
    assert dict(seen) == {key: list(range(20)) for key in "abcdefgh"}
    assert most > 1


@pytest.mark.parametrize("keyed", [True, False])
async def test_an_event_that_is_requeued_comes_again_with_its_redelivered_flag(kafka, fresh_name, keyed):
    seen, topic = [], f"{fresh_name}.events"
    await create_topic(kafka.bootstrap, topic, partitions=1)

    async def take(event):
        seen.append((event.body, event.redelivered))
        if event.body == 0 and seen.count((0, True)) < 2:
            raise ValueError("not now")

    async with receiving(profiles(kafka), handler(take, fresh_name, on_error=REQUEUE)):
        await publish(kafka.bootstrap, topic, [0, 1], key=(lambda body: "k") if keyed else None)
        await wait_until_committed(kafka.bootstrap, topic, f"evt-{fresh_name}-created--shipping.take", 2)
    assert [each for each in seen if each[0] == 0] == [(0, False), (0, True), (0, True)]
    if keyed:
        assert seen[-1] == (1, False)


async def test_a_dead_letter_is_the_record_itself_and_says_why(kafka, fresh_name):
    topic = f"{fresh_name}.events"
    await create_topic(kafka.bootstrap, topic, partitions=1)

    async def take(event):
        raise ValueError("broken")

    queue = f"evt-{fresh_name}-created+user.*--shipping.take"
    async with receiving(profiles(kafka), handler(take, fresh_name, ("created", "user.*"), on_error=REJECT)) as group:
        async with aiokafka.AIOKafkaProducer(bootstrap_servers=kafka.bootstrap) as producer:
            headers = [("evbus-routing-key", b"created"), ("twice", b"1"), ("twice", b"2"), ("raw", b"\xff")]
            await producer.send_and_wait(topic, b"\x00value", b"\xffkey", headers=headers)
        await eventually(lambda: stats_of(group)["dead"] == 1)
        await wait_until_committed(kafka.bootstrap, topic, queue, 1)
    (letter,) = await read(kafka.bootstrap, dead_letters.topic_name(queue + ".dead"), 1)
    assert (letter.value, letter.key) == (b"\x00value", b"\xffkey")
    assert list(letter.headers[:4]) == headers
    why = dict(letter.headers[4:])
    assert b"ValueError: broken" in why["evbus-dead-reason"]
    assert why["evbus-dead-queue"] == queue.encode()
    assert why["evbus-dead-attempts"] == b"1"


async def test_a_body_that_cannot_be_decoded_goes_to_the_dead_letters_and_holds_up_nobody(kafka, fresh_name):
    taken, topic = Taken(), f"{fresh_name}.events"
    await create_topic(kafka.bootstrap, topic, partitions=1)
    headers = [("evbus-routing-key", b"created"), ("content-type", b"application/json")]
    async with receiving(profiles(kafka), taker(taken, fresh_name)) as group:
        async with aiokafka.AIOKafkaProducer(bootstrap_servers=kafka.bootstrap) as producer:
            for value in (b"{not json", b"", b"[1]"):
                await producer.send_and_wait(topic, value, b"k", headers=headers)
            await producer.send_and_wait(topic, None, b"k", headers=headers)
        await wait_until_committed(kafka.bootstrap, topic, f"evt-{fresh_name}-created--shipping.take", 4)
        assert (stats_of(group)["dead"], taken.bodies) == (2, [[1], None])


async def test_where_the_topic_of_dead_letters_is_missing_its_event_waits_and_the_log_says_what_to_make(
    strict_kafka, fresh_name, caplog, monkeypatch
):
    monkeypatch.setattr(dead_letters, "TOPIC_WAIT", 0.5)
    topic, group_name = f"{fresh_name}.events", f"evt-{fresh_name}-created--shipping.take"
    await create_topic(strict_kafka.bootstrap, topic, partitions=1)

    async def take(event):
        raise ValueError("broken")

    async with receiving(profiles(strict_kafka), handler(take, fresh_name, on_error=REJECT)) as group:
        await publish(strict_kafka.bootstrap, topic, [1])
        await eventually(lambda: f"kafka-topics.sh --create --topic {group_name}.dead" in caplog.text)
        assert await total_committed(strict_kafka.bootstrap, topic, group_name) == 0
        await create_topic(strict_kafka.bootstrap, f"{group_name}.dead")
        await eventually(lambda: stats_of(group)["dead"] == 1)
        await wait_until_committed(strict_kafka.bootstrap, topic, group_name, 1)
    assert len(await read(strict_kafka.bootstrap, f"{group_name}.dead", 1)) == 1


async def test_a_flood_is_received_no_faster_than_it_is_handled(kafka, fresh_name):
    topic, most, go_on = f"{fresh_name}.events", 0, asyncio.Event()
    await create_topic(kafka.bootstrap, topic)
    await publish(kafka.bootstrap, topic, range(20_000), key=None)
    open_events = 0

    async def take(event):
        nonlocal most, open_events
        counts = stats_of(group)
        open_events = counts["received"] - counts["handled"]
        most = max(most, open_events)
        if counts["handled"] < 50:
            await go_on.wait()

    made = handler(take, fresh_name, since="earliest", prefetch=50, max_workers=10)
    async with receiving(profiles(kafka), made) as group:
        await eventually(lambda: stats_of(group)["received"] >= 50)
        await asyncio.sleep(1.0)
        assert stats_of(group)["received"] < 2 * 50
        go_on.set()
        await eventually(lambda: stats_of(group)["handled"] == 20_000)
    assert most <= 2 * 50


async def test_behind_a_record_that_is_stuck_reading_goes_on_for_a_while_and_then_waits(kafka, fresh_name, monkeypatch):
    monkeypatch.setattr(feed_module, "MAX_AHEAD", 100)
    topic, go_on, handled = f"{fresh_name}.events", asyncio.Event(), []
    await create_topic(kafka.bootstrap, topic, partitions=1)
    await publish(kafka.bootstrap, topic, range(1000))

    async def take(event):
        if event.body == 0:
            await go_on.wait()
        handled.append(event.body)

    async with receiving(profiles(kafka), handler(take, fresh_name, since="earliest")):
        await eventually(lambda: len(handled) >= 100)
        await asyncio.sleep(1.0)
        assert len(handled) <= 100 + 10
        go_on.set()
        await eventually(lambda: len(handled) == 1000)
    assert sorted(handled) == list(range(1000))

"""RabbitMQ as a source of events that handlers fail with: retries, dead letters, requeues."""

import asyncio
import itertools
import json
import time

import aio_pika
import pytest

from evbus_like.amqp import redelivery, topology
from evbus_like.engine.receiving import settler
from evbus_like.engine.receiving.subscription import Subscription
from evbus_like.handlers import REJECT, REQUEUE
from evbus_like.testing import eventually
from tests.integration.receiving import RecordingHandler, handle, receiving
from tests.integration.support import alarm, channel, setting, take
from tests.integration.test_amqp_source import publishing


@pytest.fixture
def profile(rabbitmq):
    return {"connection": {"url": rabbitmq.url}}


def fail(event):
    raise ValueError("not today")


async def letters(rabbitmq, queue, count):
    """Take the messages of a queue."""
    async with channel(rabbitmq.url) as opened:
        return await take(await opened.declare_queue(queue, passive=True), count)


async def depth(rabbitmq, queue):
    """Say how many messages a queue has ready."""
    async with channel(rabbitmq.url) as opened:
        return (await opened.declare_queue(queue, passive=True)).declaration_result.message_count


async def test_an_event_that_fails_comes_again_after_a_delay_with_its_attempt_counted(rabbitmq, profile, fresh_name):
    times = []

    def fail_twice(event):
        times.append(time.monotonic())
        if event.attempt < 3:
            raise ValueError("not yet")

    seen = RecordingHandler(fail_twice)
    handler = handle(seen, fresh_name, "placed", backoff=0.2, max_backoff=0.2)
    async with receiving(profile, handler) as worker, publishing(rabbitmq.url, fresh_name) as publish:
        await publish("placed", {"n": 1}, message_id="one", headers={"own": "header", "list": ["a", "b"]})
        await seen.wait_for(3)
        await eventually(lambda: worker.stats().handled == 1)
        stats = worker.stats()
    assert [event.attempt for event in seen.events] == [1, 2, 3]
    assert [event.redelivered for event in seen.events] == [False, True, True]
    # Every attempt sees the same event
    contents = {
        (event.id, event.routing_key, event.raw, event.content_type, json.dumps(event.headers, sort_keys=True))
        for event in seen.events
    }
    assert contents == {("one", "placed", b'{"n": 1}', "application/json", '{"list": ["a", "b"], "own": "header"}')}
    # A wait is drawn between 0.1 and 0.2 s and rounded up to a step, so it is 0.2 s
    assert all(after - before >= 0.1 for before, after in itertools.pairwise(times))
    assert (stats.retried, stats.handled, stats.dead) == (2, 1, 0)
    assert await depth(rabbitmq, f"evt-{fresh_name}-placed--shipping.ship") == 0


async def test_while_an_event_waits_for_its_retry_others_are_handled(rabbitmq, profile, fresh_name):
    def fail_once(event):
        if event.body == 0 and event.attempt == 1:
            raise ValueError("later")

    seen = RecordingHandler(fail_once)
    handler = handle(seen, fresh_name, "placed", backoff=1.0, max_workers=1, prefetch=1)
    async with receiving(profile, handler), publishing(rabbitmq.url, fresh_name) as publish:
        for number in range(5):
            await publish("placed", number)
        await seen.wait_for(6)
    assert seen.bodies == [0, 1, 2, 3, 4, 0]


async def test_a_queue_of_a_delay_leads_back_to_the_handlers_queue_and_vanishes_unused(rabbitmq, profile, fresh_name):
    seen = RecordingHandler(fail)
    handler = handle(seen, fresh_name, "placed", attempts=2, backoff=0.2, max_backoff=0.2)
    async with receiving(profile, handler), publishing(rabbitmq.url, fresh_name) as publish:
        await publish("placed", 1)
        await seen.wait_for(2)
        fields = ("name", "durable", "auto_delete", "exclusive", "arguments")
        rows = json.loads(rabbitmq.ctl("list_queues", *fields, "--formatter", "json"))
    queue = f"evt-{fresh_name}-placed--shipping.ship"
    (row,) = (row for row in rows if row["name"].startswith(f"{queue}.retry."))
    arguments = {name: value for name, _, value in row.pop("arguments")}
    assert row == {"name": f"{queue}.retry.0.2s", "durable": True, "auto_delete": False, "exclusive": ""}
    assert arguments == {
        "x-message-ttl": 200,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": queue,
        "x-expires": 200 + redelivery.LONG_LEASE,
        "x-queue-type": "quorum",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }


async def test_a_queue_of_a_delay_that_somebody_deleted_is_made_again(rabbitmq, profile, fresh_name):
    seen = RecordingHandler(fail)
    queue = f"evt-{fresh_name}-placed--shipping.ship"
    handler = handle(seen, fresh_name, "placed", attempts=2, backoff=0.2, max_backoff=0.2)
    async with receiving(profile, handler), publishing(rabbitmq.url, fresh_name) as publish:
        await publish("placed", 1)
        await seen.wait_for(2)
        rabbitmq.ctl("delete_queue", f"{queue}.retry.0.2s")
        await publish("placed", 2)
        await seen.wait_for(4)
    assert seen.bodies == [1, 1, 2, 2]


async def test_an_event_whose_retry_finds_the_handlers_queue_full_waits_until_there_is_room(
    rabbitmq, profile, fresh_name
):
    # Given a queue that takes one event, and rejects others
    queue, free = f"evt-{fresh_name}-placed--shipping.ship", asyncio.Event()
    limit = json.dumps({"max-length": 1, "overflow": "reject-publish"})
    rabbitmq.ctl("set_policy", fresh_name, f"^{queue}$", limit, "--apply-to", "queues")

    async def block(event):
        if event.attempt == 1:
            if event.body > 1:
                await free.wait()
            else:
                fail(event)

    seen = RecordingHandler(block)
    handler = handle(seen, fresh_name, "placed", backoff=0.2, max_backoff=0.2, max_workers=1, prefetch=1)
    with setting(rabbitmq, "dead_letter_worker_publisher_confirm_timeout", 1000):
        async with receiving(profile, handler), publishing(rabbitmq.url, fresh_name) as publish:
            await publish("placed", 1)
            await seen.wait_for(1)
            await publish("placed", 2)
            await seen.wait_for(2)
            await publish("placed", 3)
            # When the event that failed falls due while another one fills the queue
            await asyncio.sleep(1.0)
            free.set()
            # Then it comes again
            await seen.wait_for(4)
    assert sorted((event.body, event.attempt) for event in seen.events) == [(1, 1), (1, 2), (2, 1), (3, 1)]


async def test_a_queue_of_a_delay_that_was_declared_otherwise_does_not_stop_retries(rabbitmq, profile, fresh_name):
    queue = f"evt-{fresh_name}-placed--shipping.ship"
    async with channel(rabbitmq.url) as opened:
        await opened.declare_queue(f"{queue}.retry.0.2s", durable=True)
    seen = RecordingHandler(fail)
    handler = handle(seen, fresh_name, "placed", attempts=2, backoff=0.2, max_backoff=0.2)
    async with receiving(profile, handler), publishing(rabbitmq.url, fresh_name) as publish:
        await publish("placed", 1)
        await seen.wait_for(2)
    assert await depth(rabbitmq, f"{queue}.retry.200") == 0


async def test_what_was_given_up_is_a_dead_letter_with_the_reason_and_all_that_it_had(rabbitmq, profile, fresh_name):
    seen = RecordingHandler(fail)
    body = b'{"n":   1}'
    handler = handle(seen, fresh_name, "placed", attempts=2, backoff=0.1)
    async with receiving(profile, handler) as worker, publishing(rabbitmq.url, fresh_name) as publish:
        await publish(
            "placed",
            body,
            message_id="one",
            correlation_id="corr",
            reply_to="reply",
            priority=3,
            app_id="app",
            type="kind",
            headers={"own": "header", "list": ["a"], "x-death": [{"queue": "q", "count": 1}], "CC": ["elsewhere"]},
            user_id="guest",
            expiration=3600,
        )
        await eventually(lambda: worker.stats().dead == 1)
    queue = f"evt-{fresh_name}-placed--shipping.ship"
    (letter,) = await letters(rabbitmq, f"{queue}.dead", 1)
    assert (letter.body, letter.message_id, letter.content_type) == (body, "one", "application/json")
    assert (letter.correlation_id, letter.reply_to, letter.priority) == ("corr", "reply", 3)
    assert (letter.app_id, letter.type, letter.delivery_mode) == ("app", "kind", aio_pika.DeliveryMode.PERSISTENT)
    assert (letter.expiration, letter.user_id) == (None, None)
    assert 0 <= time.time() - letter.headers.pop("evbus-dead-at") < 600
    assert letter.headers == {
        "own": "header",
        "list": ["a"],
        "evbus-dead-reason": "given up after 2 attempts: ValueError: not today",
        "evbus-dead-attempts": 2,
        "evbus-dead-queue": queue,
        "evbus-dead-routing-key": "placed",
        "evbus-dead-service": fresh_name,
    }
    assert await depth(rabbitmq, queue) == 0


async def test_a_dead_letter_that_is_put_back_begins_anew(rabbitmq, profile, fresh_name):
    seen = RecordingHandler(fail)
    queue = f"evt-{fresh_name}-placed--shipping.ship"
    handler = handle(seen, fresh_name, "placed", attempts=2, backoff=0.1)
    async with receiving(profile, handler) as worker, channel(rabbitmq.url) as opened:
        exchange = await opened.get_exchange(f"{fresh_name}.events")
        await exchange.publish(aio_pika.Message(b"1", content_type="application/json", headers={"a": 1}), "placed")
        await eventually(lambda: worker.stats().dead == 1)
        (letter,) = await letters(rabbitmq, f"{queue}.dead", 1)
        await exchange.publish(letter, letter.headers["evbus-dead-routing-key"])
        await seen.wait_for(3)
    assert [event.attempt for event in seen.events][:3] == [1, 2, 1]


async def test_an_existing_queue_of_dead_letters_is_taken_as_it_is(rabbitmq, profile, fresh_name):
    dead = f"evt-{fresh_name}-placed--shipping.ship.dead"
    async with channel(rabbitmq.url) as opened:
        await opened.declare_queue(dead, durable=True, arguments={"x-max-length": 10})
    handler = handle(RecordingHandler(fail), fresh_name, "placed", on_error=REJECT)
    async with receiving(profile, handler) as worker, publishing(rabbitmq.url, fresh_name) as publish:
        await publish("placed", 1)
        await eventually(lambda: worker.stats().dead == 1)
    (letter,) = await letters(rabbitmq, dead, 1)
    assert letter.headers["evbus-dead-reason"] == "rejected: ValueError: not today"


async def test_dead_letters_go_to_the_exchange_that_the_profile_names(rabbitmq, profile, fresh_name):
    # Given an exchange for dead letters to which no queue is bound yet
    name = f"dead-{fresh_name}"
    handler = handle(RecordingHandler(fail), fresh_name, "placed", on_error=REJECT)
    own = {**profile, "dead_letter_exchange": name}
    async with channel(rabbitmq.url) as opened, publishing(rabbitmq.url, fresh_name) as publish:
        exchange = await opened.declare_exchange(name, "topic", durable=True)
        async with receiving(own, handler) as worker:
            await publish("placed", 1)
            # Then the event stays where it is
            await eventually(lambda: worker.stats().failed == 1)
            await asyncio.sleep(0.3)
            assert worker.stats().dead == 0
            # Until somebody binds one
            queue = await opened.declare_queue(name, durable=True)
            await queue.bind(exchange, "#")
            await eventually(lambda: worker.stats().dead == 1)
    (letter,) = await letters(rabbitmq, name, 1)
    assert letter.routing_key == f"evt-{fresh_name}-placed--shipping.ship"


async def test_an_event_that_is_requeued_comes_again_and_says_so(rabbitmq, profile, fresh_name):
    def fail_thrice(event):
        if len(seen.events) < 4:
            raise ValueError("again")

    seen = RecordingHandler(fail_thrice)
    handler = handle(seen, fresh_name, "placed", on_error=REQUEUE)
    async with receiving(profile, handler) as worker, publishing(rabbitmq.url, fresh_name) as publish:
        await publish("placed", 1)
        await eventually(lambda: worker.stats().handled == 1)
        assert worker.stats().requeued == 3
    assert [event.redelivered for event in seen.events] == [False, True, True, True]


async def test_a_quorum_queue_counts_attempts_over_requeues(rabbitmq, profile, fresh_name):
    seen = RecordingHandler(lambda event: fail(event) if len(seen.events) < 3 else None)
    handler = handle(seen, fresh_name, "placed", on_error=REQUEUE)
    async with receiving({**profile, "quorum": True}, handler), publishing(rabbitmq.url, fresh_name) as publish:
        await publish("placed", 1)
        await seen.wait_for(3)
    assert [event.attempt for event in seen.events] == [1, 2, 3]


async def test_a_body_that_cannot_be_decoded_is_a_dead_letter_at_once(rabbitmq, profile, fresh_name):
    seen = RecordingHandler()
    handler = handle(seen, fresh_name, "placed")
    async with receiving(profile, handler) as worker, publishing(rabbitmq.url, fresh_name) as publish:
        for number in range(20):
            await publish("placed", b"{no json", message_id=f"bad-{number}")
        await publish("placed", "good")
        await eventually(lambda: worker.stats().dead == 20)
        await seen.wait_for(1)
        assert worker.stats().received == 21
    found = await letters(rabbitmq, f"evt-{fresh_name}-placed--shipping.ship.dead", 20)
    assert {letter.body for letter in found} == {b"{no json"}
    assert sorted(letter.message_id for letter in found) == sorted(f"bad-{number}" for number in range(20))
    assert "cannot be decoded" in found[0].headers["evbus-dead-reason"]


async def test_a_body_that_is_too_large_is_a_dead_letter_whole(rabbitmq, profile, fresh_name):
    seen = RecordingHandler()
    handler = handle(seen, fresh_name, "placed")
    big = b"x" * 300_000
    own = {**profile, "max_event_bytes": 1000}
    async with receiving(own, handler) as worker, publishing(rabbitmq.url, fresh_name) as publish:
        await publish("placed", big, content_type="text/plain")
        await publish("placed", b"small", content_type="text/plain")
        await eventually(lambda: worker.stats().dead == 1)
        await seen.wait_for(1)
    (letter,) = await letters(rabbitmq, f"evt-{fresh_name}-placed--shipping.ship.dead", 1)
    assert letter.body == big
    assert seen.bodies == ["small"]


@pytest.mark.parametrize(
    ("delay", "milliseconds"),
    [
        *((0, 100), (0.1, 100), (0.11, 200), (0.3, 500), (1.0, 1000), (1.01, 2000), (60.5, 100_000), (123, 200_000)),
        *((30, 30_000), (45.0, 45_000), (60, 60_000), (3600, 3_600_000), (1e9, 2_000_000_000)),
    ],
)
def test_delays_are_rounded_up_to_few_steps_but_those_that_somebody_chose(delay, milliseconds):
    assert redelivery.step(delay) == milliseconds


def test_a_queue_of_a_delay_outlives_what_is_in_it():
    subscription = Subscription("orders", ("placed",), "shipping", "ship")
    for milliseconds in (100, 5000, redelivery.LONGEST):
        for arguments in (redelivery.delay_arguments, redelivery.safe_arguments):
            made = arguments(subscription, milliseconds)
            assert made["x-expires"] > made["x-message-ttl"] + redelivery.RENEW * 1000
            assert made["x-expires"] < 2**32


@pytest.mark.parametrize(
    ("milliseconds", "name"), [(100, "0.1s"), (500, "0.5s"), (1000, "1s"), (2_000_000_000, "2000000s")]
)
def test_a_queue_of_a_delay_is_named_by_its_seconds(milliseconds, name):
    assert redelivery._seconds(milliseconds) == name
    assert len(f".retry.{name}") <= topology.LONGEST_RETRY_SUFFIX


async def test_an_event_that_is_requeued_more_often_than_a_quorum_queue_allows_is_not_lost(
    rabbitmq, profile, fresh_name, monkeypatch
):
    # Given a quorum queue with a delivery limit: RabbitMQ 4 has one of 20 by default
    monkeypatch.setattr(settler, "REQUEUE_CAP", 0.05)
    limit = json.dumps({"delivery-limit": redelivery.MOST_RETURNS + 2})
    rabbitmq.ctl("set_policy", fresh_name, f"^evt-{fresh_name}-placed--shipping.ship$", limit, "--apply-to", "queues")
    times = 2 * redelivery.MOST_RETURNS + 5
    # When a handler gives an event back twice as often
    seen = RecordingHandler(lambda event: fail(event) if len(seen.events) < times else None)
    handler = handle(seen, fresh_name, "placed", on_error=REQUEUE)
    async with (
        receiving({**profile, "quorum": True}, handler) as worker,
        publishing(rabbitmq.url, fresh_name) as publish,
    ):
        await publish("placed", {"n": 1}, message_id="one", headers={"own": "header"})
        # Then it comes again each time, until it is handled
        await eventually(lambda: worker.stats().handled == 1)
        stats = worker.stats()
    rabbitmq.ctl("clear_policy", fresh_name)
    assert (stats.requeued, stats.dead) == (times - 1, 0)
    assert [event.attempt for event in seen.events] == list(range(1, times + 1))
    assert {(event.id, event.raw, event.headers["own"]) for event in seen.events} == {("one", b'{"n": 1}', "header")}
    assert await depth(rabbitmq, f"evt-{fresh_name}-placed--shipping.ship") == 0


async def test_a_full_queue_of_dead_letters_is_trouble_that_the_stats_name_until_there_is_room(
    rabbitmq, profile, fresh_name, caplog
):
    # Given a queue of dead letters that takes one
    dead = f"evt-{fresh_name}-placed--shipping.ship.dead"
    limit = json.dumps({"max-length": 1, "overflow": "reject-publish"})
    rabbitmq.ctl("set_policy", fresh_name, f"^{dead}$", limit, "--apply-to", "queues")
    handler = handle(RecordingHandler(fail), fresh_name, "placed", on_error=REJECT)
    async with receiving(profile, handler) as worker, publishing(rabbitmq.url, fresh_name) as publish:
        for number in range(4):
            await publish("placed", number)
        # Then the stats say what the others wait for
        await eventually(lambda: worker.stats().trouble.startswith("3 events cannot be settled"))
        assert "a queue for it is full" in worker.stats().trouble
        assert dead in worker.stats().trouble
        # And they go on when there is room
        rabbitmq.ctl("clear_policy", fresh_name)
        await eventually(lambda: worker.stats().dead == 4)
        assert worker.stats().trouble == ""
    assert sum("did not dead-letter" in line for line in caplog.messages) == 1


@pytest.mark.parametrize("kind", ["memory", "disk"])
async def test_an_alarm_is_trouble_that_the_stats_name_and_it_multiplies_neither_retries_nor_dead_letters(
    rabbitmq, profile, fresh_name, kind
):
    # Given three events whose handlers fail during an alarm
    gate = asyncio.Event()

    async def wait_and_fail(event):
        if event.body and event.attempt == 1:
            await gate.wait()
        fail(event)

    seen = RecordingHandler(wait_and_fail)
    handler = handle(seen, fresh_name, "placed", attempts=2, backoff=0.1)
    quick = {**profile, "timeout": 1.0}
    async with receiving(quick, handler) as worker, publishing(rabbitmq.url, fresh_name) as publish:
        await publish("placed", 0)
        await eventually(lambda: worker.stats().dead == 1)  # the connection of copies is open
        for number in range(1, 4):
            await publish("placed", number)
        await seen.wait_for(5)
        async with alarm(rabbitmq, kind):
            gate.set()
            # Then the stats say so, for several timeouts
            await eventually(lambda: f"low on {kind}" in worker.stats().trouble)
            await asyncio.sleep(3.0)
            assert worker.stats().trouble.startswith("3 events cannot be settled (retry)")
        # And each is retried and dead-lettered once when it is over
        await eventually(lambda: worker.stats().dead == 4)
        await eventually(lambda: worker.stats().trouble == "")
    assert sorted(seen.bodies) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert await depth(rabbitmq, f"evt-{fresh_name}-placed--shipping.ship.dead") == 4

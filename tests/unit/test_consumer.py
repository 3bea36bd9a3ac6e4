"""engine/receiving/consumer.py: events in, handled, and settled, whatever the source does."""

import asyncio
import json
from collections import deque

import pytest

from evbus_like.engine.errors import DestinationRefused, TransientError
from evbus_like.engine.receiving import consumer as consumers
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.handlers import ACK_AND_LOG, REJECT, REQUEUE, RETRY, SHUTDOWN
from tests.unit.fakes import HANG, until
from tests.unit.sources import Log, Source, consuming, hang, made


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """A lost source is tried again at once."""
    monkeypatch.setattr(consumers, "RETRY_CAP", 0.01)
    monkeypatch.setattr(consumers, "REFUSED_CAP", 0.01)
    monkeypatch.setattr(consumers, "GRACE", 0.2)


def failing(*attempts, error=ValueError):
    """A handler that fails at these attempts."""

    def function(event):
        if event.attempt in attempts:
            raise error("no")

    return Log(function)


# ---- settling


async def test_an_event_is_acknowledged_after_its_handler_and_not_before():
    source, gate = Source(), asyncio.Event()
    log = Log(lambda event: gate.wait())
    async with consuming(source, log):
        source.put(1)
        await until(lambda: log.begun)
        await asyncio.sleep(0.01)
        assert source.settled == []
        gate.set()
        await until(lambda: source.settled)
    assert source.settled == [("ack", "1")]


@pytest.mark.parametrize("retries", [True, False], ids=["by the source", "here"])
async def test_a_failed_event_is_handled_again_as_often_as_was_said_and_then_goes_to_the_dead_letters(retries):
    source, log = Source(retries), failing(1, 2, 3)
    async with consuming(source, log, attempts=3, backoff=0.001) as consumer:
        source.put(1, 2)
        await until(lambda: len([each for each in source.settled if each[0] == "dead"]) == 2)
    assert sorted(log.begun) == ["1"] * 3 + ["2"] * 3
    assert "given up after 3 attempts: ValueError: no" in source.reasons["1"]
    assert (consumer.stats.failed, consumer.stats.dead, consumer.stats.retried) == (6, 2, 4)


async def test_an_event_whose_handling_breaks_in_our_own_code_becomes_a_dead_letter_and_the_next_is_handled(
    monkeypatch,
):
    # Given a failure whose log entry cannot be made
    monkeypatch.setattr("evbus_like.engine.receiving.invoker.log_handler_failure", break_everything)
    source, log = Source(), failing(1)
    async with consuming(source, log, max_workers=1, prefetch=1):
        source.put(1, 2)
        await until(lambda: len(source.settled) == 2)
    assert source.settled == [("dead", "1"), ("dead", "2")]
    assert source.reasons["1"] == "it could not be handled: RuntimeError"


def break_everything(*_arguments):
    raise RuntimeError("no")


@pytest.mark.parametrize("retries", [True, False], ids=["by the source", "here"])
async def test_an_event_that_succeeds_in_the_end_is_acknowledged(retries):
    source = Source(retries)
    async with consuming(source, failing(1, 2), attempts=3, backoff=0.001):
        source.put(1)
        await until(lambda: ("ack", "1") in source.settled)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [(ACK_AND_LOG, "ack"), (REJECT, "dead"), (REQUEUE, "requeue")],
    ids=["acknowledged", "rejected", "requeued"],
)
async def test_what_becomes_of_a_failed_event_is_what_on_error_says(policy, expected):
    source = Source()
    async with consuming(source, failing(1), on_error=policy):
        source.put(1)
        await until(lambda: source.settled)
    assert source.settled[0] == (expected, "1")


async def test_a_failure_that_is_acknowledged_all_the_same_counts_as_failed_and_is_not_called_again():
    source, log = Source(), failing(1)
    async with consuming(source, log, on_error=ACK_AND_LOG, dedup=10) as consumer:
        source.put(1)
        await until(lambda: source.settled)
        source.put(1)
        await until(lambda: consumer.stats.repeats)
    assert (consumer.stats.handled, consumer.stats.failed) == (0, 1)
    assert log.begun == ["1"]


@pytest.mark.parametrize("retries", [True, False], ids=["by the source", "here"])
@pytest.mark.parametrize("options", [{"backoff": 0.001}, {"on_error": REQUEUE}], ids=["retried", "requeued"])
@pytest.mark.parametrize("order", [None, "key"])
async def test_an_event_that_is_handled_again_says_that_it_was_given_before(retries, options, order):
    source, seen = Source(retries), []

    def function(event):
        seen.append((event.attempt, event.redelivered))
        if len(seen) < 3:
            raise ValueError("no")

    async with consuming(source, Log(function), **options):
        source.put(1, order=order)
        await until(lambda: ("ack", "1") in source.settled)
    assert seen == [(1, False), (2, True), (3, True)]


async def test_a_handler_that_shuts_the_worker_down_leaves_its_event_unsettled():
    source = Source()
    async with consuming(source, failing(1), on_error=SHUTDOWN) as consumer:
        source.put(1)
        await until(lambda: consumer.shutdowns)
    assert source.settled == []
    assert [event.id for event in source.queue] == ["1"]
    assert "ValueError: no" in consumer.shutdowns[0]


@pytest.mark.parametrize("policy", [RETRY, REQUEUE, ACK_AND_LOG, SHUTDOWN, REJECT])
async def test_a_body_that_cannot_be_read_is_a_dead_letter_without_a_call_whatever_on_error_says(policy):
    def decode(event):
        return json.loads(event.raw)

    source, log = Source(), Log()
    async with consuming(source, log, on_error=policy) as consumer:
        consumer.invoker.decode = decode
        for number, raw in enumerate((b"{not json", b"1" * (source.max_event_bytes + 1), b"7")):
            source.queue.append(ReceivedEvent(raw, "kind", "orders", str(number)))
        source.put()
        await until(lambda: len(source.settled) == 3)
    assert sorted(source.settled) == [("ack", "2"), ("dead", "0"), ("dead", "1")]
    assert "cannot be decoded" in source.reasons["0"]
    assert "more than the profile's max_event_bytes (1000)" in source.reasons["1"]
    assert log.begun == ["2"]
    assert not consumer.shutdowns


# ---- what handlers may do


def cancel_myself(event):
    raise asyncio.CancelledError


async def cancel_my_task(event):
    asyncio.current_task().cancel()
    await asyncio.sleep(1)


async def cancel_my_task_and_return(event):
    asyncio.current_task().cancel()


class Mute(Exception):
    """An error whose text cannot be had."""

    def __str__(self):
        raise RuntimeError("no text")


def leave(event):
    raise SystemExit(3)


def close(event):
    raise GeneratorExit


def mute(event):
    raise Mute


class Aborted(BaseException):
    """What some libraries make of BaseException, so that nobody catches it by chance."""


def abort(event):
    raise Aborted


@pytest.mark.parametrize(
    "function", [cancel_myself, cancel_my_task, leave, close, mute, abort], ids=lambda each: each.__name__
)
async def test_a_handler_may_fail_in_any_way_and_the_next_event_is_handled(function):
    source = Source()
    log = Log(lambda event: function(event) if event.id == "bad" else None)
    async with consuming(source, log, max_workers=1, on_error=REJECT):
        source.put("bad", "good")
        await until(lambda: len(source.settled) == 2)
    assert sorted(source.settled) == [("ack", "good"), ("dead", "bad")]


async def test_a_handler_that_cancels_its_task_and_returns_disturbs_nothing():
    source = Source()
    async with consuming(source, Log(cancel_my_task_and_return), max_workers=1):
        source.put(*range(5))
        await until(lambda: len(source.settled) == 5)
    assert {verb for verb, _ in source.settled} == {"ack"}


async def test_the_events_without_an_id_are_not_repeats_of_each_other():
    source, log = Source(), Log()
    source.put("", "kept")
    async with consuming(source, log, dedup=10):
        await until(lambda: len(log.done) == 2)
        source.put("")
        await until(lambda: len(log.done) == 3)


async def test_an_event_that_was_handled_already_is_acknowledged_without_a_call():
    source, log = Source(), Log()
    async with consuming(source, log, dedup=10) as consumer:
        source.put(1)
        await until(lambda: source.settled)
        source.put(1, 2)
        await until(lambda: len(source.settled) == 3)
    assert log.begun == ["1", "2"]
    assert consumer.stats.repeats == 1


class Twins(Source):
    """A source that gives events of one id beside each other."""

    def _settle(self, feed, event, verb):
        self.settled.append((verb, event.token))

    def twins(self, *tokens):
        self.queue.extend(ReceivedEvent(b"body", "kind", "orders", "same", token=each) for each in tokens)
        self.put()


async def test_a_repeat_that_comes_while_the_event_is_handled_waits_for_it_and_is_not_handled():
    source, gate = Twins(), asyncio.Event()
    log = Log(lambda event: gate.wait())
    async with consuming(source, log, dedup=10) as consumer:
        source.twins("first", "second")
        await until(lambda: log.begun)
        await asyncio.sleep(0.01)
        gate.set()
        await until(lambda: len(source.settled) == 2)
    assert source.settled == [("ack", "first"), ("ack", "second")]
    assert (log.begun, consumer.stats.repeats) == (["same"], 1)


async def test_a_repeat_that_comes_while_the_event_is_handled_is_handled_if_that_fails():
    source, gate = Twins(), asyncio.Event()

    async def function(event):
        await gate.wait()
        if event.token == "first":
            raise ValueError("no")

    async with consuming(source, Log(function), dedup=10, on_error=REJECT) as consumer:
        source.twins("first", "second", "third")
        await asyncio.sleep(0.01)
        gate.set()
        await until(lambda: len(source.settled) == 3)
    assert source.settled == [("dead", "first"), ("ack", "second"), ("ack", "third")]
    assert (consumer.stats.handled, consumer.stats.repeats) == (1, 1)


async def test_a_repeat_that_waits_for_the_event_is_given_back_by_a_stop_if_that_fails():
    source, gate = Twins(), asyncio.Event()

    async def function(event):
        await gate.wait()
        raise ValueError("no")

    log = Log(function)
    async with consuming(source, log, dedup=10, on_error=REJECT) as consumer:
        source.twins("first", "second")
        await until(lambda: log.begun)
        consumer.stop()
        await asyncio.sleep(0.01)
        gate.set()
    assert (source.settled, log.begun) == ([("dead", "first")], ["same"])


async def test_an_event_that_failed_is_no_repeat_when_it_comes_again():
    source, log = Source(retries=True), failing(1)
    async with consuming(source, log, dedup=10, backoff=0.001):
        source.put(1)
        await until(lambda: ("ack", "1") in source.settled)
    assert log.begun == ["1", "1"]


# ---- bounds and order


async def test_no_more_events_are_received_than_prefetch_and_one_batch():
    source, gate = Source(batch=3), asyncio.Event()
    log = Log(lambda event: gate.wait())
    source.put(*range(50))
    async with consuming(source, log, max_workers=2, prefetch=4):
        await until(lambda: len(log.begun) == 2)
        await asyncio.sleep(0.02)
        assert len(source.given) == 6
        gate.set()
        await until(lambda: len(source.settled) == 50)
    assert source.most_given <= 4 + 3


async def test_acks_that_the_source_is_slow_to_take_count_as_unsettled():
    source, gate = Source(batch=1), asyncio.Event()
    source.script["ack"] = deque([gate.wait])
    source.put(*range(50))
    async with consuming(source, Log(), max_workers=2, prefetch=4):
        await until(lambda: source.calls.get("ack"))
        await asyncio.sleep(0.02)
        assert len(source.given) <= 5
        gate.set()
        await until(lambda: len(source.settled) == 50)


async def test_one_slow_event_does_not_keep_the_others_waiting():
    source, gate = Source(), asyncio.Event()
    log = Log(lambda event: gate.wait() if event.id == "0" else None)
    source.put(*range(20))
    async with consuming(source, log, max_workers=2):
        await until(lambda: len(log.done) == 19)
        gate.set()


@pytest.mark.parametrize("retries", [True, False], ids=["that could wait at the source", "here"])
async def test_events_of_one_order_are_handled_one_after_another_even_when_one_is_handled_again(retries):
    source = Source(retries)
    log = failing(1, 2)
    source.put("a1", "a2", order="a")
    source.put("b1", order="b")
    async with consuming(source, log, backoff=0.001):
        await until(lambda: len(log.done) == 3)
    assert [each for each in log.begun if each[0] == "a"] == ["a1"] * 3 + ["a2"] * 3


async def test_events_that_cannot_be_settled_are_trouble_in_the_stats_and_one_line_of_the_log(caplog):
    # Given a source whose queue of dead letters is full
    source, full = Source(), asyncio.Event()

    async def refuse():
        if not full.is_set():
            raise TransientError("the queue is full")

    source.script["dead"] = deque([refuse] * 100)
    log = failing(1)
    source.put(1, 2, 3)
    async with consuming(source, log, on_error=REJECT) as consumer:
        # Then the stats say so, with the number of events that wait
        await until(lambda: consumer.stats.trouble.startswith("3 events cannot be settled (dead-letter)"))
        assert "the queue is full" in consumer.stats.trouble
        await until(lambda: source.calls["dead"] > 6)
        # And when it has room again, they say so, too
        full.set()
        await until(lambda: consumer.stats.dead == 3)
        assert consumer.stats.trouble == ""
        assert consumer.stats.state == "open"
    assert caplog.text.count("did not dead-letter") == 1
    assert caplog.text.count("settles events again") == 1


async def test_a_feed_that_is_lost_ends_the_trouble_of_its_events():
    source = Source()
    source.script["dead"] = deque([TransientError("the queue is full")] * 100)
    source.put(1)
    async with consuming(source, failing(1), on_error=REJECT) as consumer:
        await until(lambda: consumer.stats.trouble)
        source.script["dead"] = deque()
        source.lose()
        await until(lambda: consumer.stats.dead == 1 and not consumer.stats.trouble)


# ---- the source is lost


async def test_a_source_that_is_absent_is_tried_again_until_it_is_there(caplog):
    source, log = Source(), Log()
    source.script["subscribe"] = deque([OSError("absent"), DestinationRefused("no"), OSError("x")])
    source.put(1)
    async with consuming(source, log) as consumer:
        await until(lambda: log.done)
        assert consumer.stats.state == "open"
    assert "receives nothing, trying again: absent" in caplog.text


async def test_an_event_of_a_lost_feed_is_not_settled_and_is_handled_again():
    source, gate = Source(), asyncio.Event()
    log = Log(lambda event: None if event.redelivered else gate.wait())
    async with consuming(source, log, max_workers=2) as consumer:
        source.put(1)
        await until(lambda: log.begun)
        source.lose()
        await until(lambda: source.settled)
        gate.set()
        await until(lambda: consumer.stats.lost)
    assert log.begun == ["1", "1"]
    assert source.settled == [("ack", "1")]
    assert source.calls["ack"] == 1


async def test_a_redelivered_event_waits_for_the_handling_of_its_order_that_is_still_under_way():
    source, gate = Source(), asyncio.Event()
    log = Log(lambda event: None if event.redelivered else gate.wait())
    async with consuming(source, log):
        source.put("a1", "a2", order="a")
        await until(lambda: log.begun)
        source.lose()
        await until(lambda: source.calls["subscribe"] == 2)
        await asyncio.sleep(0.02)
        assert log.begun == ["a1"]
        gate.set()
        await until(lambda: len(source.settled) == 2)
    assert log.begun == ["a1", "a1", "a2"]


async def test_held_events_of_a_lost_feed_come_again_and_let_their_order_go_on():
    source = Source()
    log = Log(lambda event: None if event.redelivered else 1 / 0)
    async with consuming(source, log, backoff=30.0):
        source.put("a1", "a2", order="a")
        await until(lambda: log.begun)
        source.lose()
        await until(lambda: len(source.settled) == 2)
    assert log.done == ["a1", "a2"]


@pytest.mark.parametrize("error", [OSError("reset"), TimeoutError()], ids=repr)
async def test_a_source_that_does_not_take_acks_gives_their_events_again(error, caplog):
    source, log = Source(), Log()
    source.script["ack"] = deque([error])
    async with consuming(source, log) as consumer:
        source.put(1, 2)
        await until(lambda: len(source.settled) == 2)
        assert consumer.stats.lost
    assert "acks failed" in caplog.text


async def test_a_feed_that_is_lost_while_it_is_full_of_events_to_give_back_ends():
    # Given as many events as there is room for, none of which the source takes back, for its connection is lost
    class Lost(Source):
        async def ack(self, feed, events):
            if self.broken is not None:
                raise self.broken
            await super().ack(feed, events)

        async def requeue(self, feed, event):
            if self.broken is not None:
                raise self.broken
            await super().requeue(feed, event)

    source, log = Lost(), Log()

    def fails_once(event):
        if source.feed == 1:
            source.lose()
            raise ValueError("no")

    log.function = fails_once
    async with consuming(source, log, on_error=REQUEUE, max_workers=2, prefetch=2):
        source.put(1, 2)
        # Then the loss is noticed although nobody receives, and they come again
        await until(lambda: sorted(source.settled) == [("ack", "1"), ("ack", "2")])
    assert source.feed == 2


@pytest.mark.parametrize("verb", ["requeue", "dead"])
async def test_a_source_that_does_not_take_an_event_back_is_asked_again(verb):
    source = Source()
    source.script[verb] = deque([OSError("busy")])
    async with consuming(source, failing(1), on_error=REQUEUE if verb == "requeue" else REJECT):
        source.put(1)
        await until(lambda: source.settled)
    assert source.settled[0] == (verb, "1")


async def test_a_feed_that_is_lost_again_and_again_is_not_tried_without_a_wait(monkeypatch):
    monkeypatch.setattr(consumers, "RETRY_CAP", 5.0)
    source = Source()
    source.script["receive"] = deque([OSError("closed")] * 10_000)
    async with consuming(source, Log()):
        await asyncio.sleep(0.2)
    assert source.calls["subscribe"] < 30


async def test_a_source_that_gives_nothing_at_once_does_not_hold_up_the_loop():
    class Empty(Source):
        async def receive(self, feed):
            return []

    async with consuming(Empty(), Log()):
        await asyncio.sleep(0.05)


# ---- stop


async def test_stop_waits_for_the_handler_under_way_and_gives_the_rest_back():
    source, gate = Source(), asyncio.Event()
    log = Log(lambda event: gate.wait())
    consumer = made(source, log, max_workers=1, prefetch=5)
    task = asyncio.create_task(consumer.run())
    source.put(*range(5))
    await until(lambda: log.begun)
    consumer.stop()
    await asyncio.sleep(0.01)
    assert not task.done()
    gate.set()
    await asyncio.wait_for(task, HANG)
    assert source.settled == [("ack", "0")]
    assert [event.id for event in source.queue] == ["1", "2", "3", "4"]


async def test_stop_begins_no_retry_that_falls_due_meanwhile(monkeypatch):
    source, gate, loop = Source(), asyncio.Event(), asyncio.get_running_loop()

    async def function(event):
        if event.id == "slow":
            await gate.wait()
        else:
            raise ValueError("no")

    log, now = Log(function), loop.time
    consumer = made(source, log, backoff=100.0)
    task = asyncio.create_task(consumer.run())
    source.put("slow", "bad")
    await until(lambda: consumer.stats.retried == 1)
    consumer.stop()
    for _ in range(20):  # turns of the loop, in which the stop begins
        await asyncio.sleep(0)
    monkeypatch.setattr(loop, "time", lambda: now() + 200.0)  # the retry falls due
    await asyncio.sleep(0.01)
    gate.set()
    await asyncio.wait_for(task, HANG)
    assert log.begun == ["slow", "bad"]
    assert source.settled == [("ack", "slow")]


async def test_stop_waits_for_acks_that_are_on_their_way():
    source, gate = Source(), asyncio.Event()
    source.script["ack"] = deque([gate.wait])
    consumer = made(source, Log())
    task = asyncio.create_task(consumer.run())
    source.put(1)
    await until(lambda: source.calls.get("ack"))
    consumer.stop()
    await asyncio.sleep(0.01)
    gate.set()
    await asyncio.wait_for(task, HANG)
    assert source.settled == [("ack", "1")]


async def test_stop_does_not_wait_for_a_source_that_does_not_answer():
    source = Source()
    source.script["subscribe"] = deque([hang])
    async with asyncio.timeout(2.0):  # far less than the source's own timeout
        async with consuming(source, Log()):
            await until(lambda: source.calls)


async def test_a_stop_beyond_its_timeout_ends_though_a_handler_does_not_let_itself_be_cancelled():
    source = Source()
    source.timeout = 60.0
    free = asyncio.Event()

    async def stubborn(event):
        while not free.is_set():
            try:
                await free.wait()
            except asyncio.CancelledError:
                continue

    log = Log(stubborn)
    consumer = made(source, log)
    source.script["unsubscribe"] = deque([hang])
    task = asyncio.create_task(consumer.run())
    source.put(1)
    await until(lambda: log.begun)
    consumer.stop()
    await asyncio.sleep(0.01)
    task.cancel()
    async with asyncio.timeout(5.0):
        await asyncio.wait([task])
    free.set()
    await asyncio.sleep(0.01)
    assert source.settled == []
    assert not [each for each in asyncio.all_tasks() if "handle" in each.get_name()]


@pytest.mark.parametrize(("verb", "policy"), [("requeue", REQUEUE), ("retry", RETRY)])
async def test_an_event_that_a_source_can_never_take_back_becomes_a_dead_letter(verb, policy, monkeypatch):
    source = Source(retries=True)
    source.script[verb] = deque([TypeError("a bug")] * 100)
    async with consuming(source, failing(1), on_error=policy, backoff=0.001):
        source.put(1)
        await until(lambda: source.settled)
    assert source.settled == [("dead", "1")]
    assert source.reasons["1"] == f"{verb} is not possible: TypeError: a bug"

"""Rates of handlers: how many events in a time, fair shares of them, and what waiting costs."""

import os
import time

import pytest

from evbus_like import handlers as evbus
from evbus_like.engine import rate as rates
from evbus_like.engine.receiving.rated_queue import FairShares, share_of
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.processes import shared
from tests.unit.fakes import until
from tests.unit.sources import Log, Source, consuming


@pytest.mark.parametrize(
    ("text", "count", "seconds"),
    [("50/s", 50, 1), ("1000/min", 1000, 60), (" 0.5 / h ", 0.5, 3600), ("7/day", 7, 86400), ("3/second", 3, 1)],
)
def test_a_rate_is_a_number_of_events_in_a_time(text, count, seconds):
    assert rates.parse(text) == rates.Rate(count, seconds)


@pytest.mark.parametrize("wrong", [50, "50", "/s", "0/s", "-1/s", "1e3/s", "50/year", "5 0/s", "nan/s", b"5/s", None])
def test_what_is_no_rate_is_named_with_its_form(wrong):
    assert 'rate must be a number of events in a time, such as "50/s"' in rates.problem("rate", wrong)


async def test_a_handler_gets_no_more_events_than_its_rate_says_and_loses_none():
    source, times = Source(), []

    def function(event):
        times.append(time.monotonic())

    source.put(*range(30))
    async with consuming(source, Log(function), rate="100/s") as consumer:
        await until(lambda: len(times) == 30)
        assert consumer.stats.limited
        assert (consumer.stats.failed, consumer.stats.retried) == (0, 0)
    for first in range(0, 20):  # in any time, and not only on the whole: 5 may come at once
        assert times[first + 10] - times[first] >= (10 - 5 - 1) / 100
    assert times[-1] - times[0] >= 0.24


async def test_while_events_wait_for_the_rate_no_worker_is_busy_and_a_stop_gives_them_back():
    source, log = Source(), Log()
    source.put(*range(5))
    async with consuming(source, log, rate="1/h", max_workers=4) as consumer:
        await until(lambda: log.done)
        await until(lambda: consumer.stats.limited)
        assert consumer.busy == 0
    assert log.done == ["0"]
    assert {event.id for event in source.queue} == {"1", "2", "3", "4"}


async def test_after_a_lost_connection_an_event_that_waited_is_handled_once():
    source, log = Source(), Log()
    source.put(1, 2, 3)
    async with consuming(source, log, rate="10/s", max_workers=1):
        await until(lambda: log.done == ["1"])
        source.lose()
        await until(lambda: len(log.done) == 3)
    assert log.done == ["1", "2", "3"]


@pytest.mark.parametrize("by", ["tenant", "customer.id"], ids=["a header", "a part of the body"])
async def test_a_sender_that_floods_does_not_starve_the_others(by):
    source, log = Source(batch=1000), Log()
    bodies = {}

    def put(event_id, sender):
        source.put(event_id, headers={"tenant": sender} if by == "tenant" else {})
        bodies[event_id] = {"customer": {"id": sender}}

    for number in range(200):
        put(f"flood-{number}", "flood")
    for number in range(5):
        put(f"quiet-{number}", "quiet")
    async with consuming(
        source, log, rate="500/s", rate_by=by, max_workers=1, decode=lambda e: bodies[e.id]
    ) as consumer:
        assert consumer.subscription.prefetch == 1000
        await until(lambda: log.done.count("quiet-4") == 1)
    assert log.done.index("quiet-4") < 20
    quiet = [each for each in log.done if each.startswith("quiet")]
    assert quiet == [f"quiet-{number}" for number in range(5)]


def test_shares_go_round_and_what_comes_back_is_next():
    def event(key, number):
        return ReceivedEvent(b"", "x", "y", f"{key}{number}", {"by": key})

    ready = FairShares(share_of("by", lambda _: None))
    for key, number in (("a", 1), ("a", 2), ("a", 3), ("b", 1), ("c", 1)):
        ready.append(event(key, number))
    first = ready.popleft()
    ready.appendleft(first)
    assert [each.id for each in ready] == ["a1", "a2", "a3", "b1", "c1"]
    assert [ready.popleft().id for _ in range(len(ready))] == ["a1", "b1", "c1", "a2", "a3"]
    assert not ready


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ({"a.b": "head"}, {"a": {"b": "body"}}, "head"),
        ({"a.b": b"head"}, None, "head"),
        ({}, {"a": {"b": 7}}, "7"),
        ({}, {"a": 7}, ""),
        ({}, [1], ""),
        ({}, {"a": {"b": ["x"]}}, ""),
        ({}, {"a": {"b": "x" * 1000}}, "x" * 255),
        ({}, ValueError(), ""),
    ],
)
def test_whose_an_event_is(headers, body, expected):
    def decode(_):
        if isinstance(body, Exception):
            raise body
        return body

    assert share_of("a.b", decode)(ReceivedEvent(b"", headers=headers)) == expected


async def test_a_rate_of_batches_counts_their_events_and_a_breaker_goes_with_both():
    source, sizes, down = Source(), [], True

    async def handle(events):
        if down:
            raise OSError("down")
        sizes.append((time.monotonic(), len(events)))

    source.put(*range(40))
    options = {"batch": 10, "linger": 0.01, "rate": "200/s", "breaker": evbus.Breaker(at_least=1, pause=0.05)}
    async with consuming(source, handle, max_workers=1, attempts=100, backoff=0.001, **options) as consumer:
        await until(lambda: consumer.state == "tripped")
        down = False
        await until(lambda: len([each for each in source.settled if each[0] == "ack"]) == 40)
    assert sum(size for _, size in sizes) == 40
    assert sizes[-1][0] - sizes[0][0] >= 0.1  # 40 events take 0.2 s, less what comes at once


def test_several_processes_share_one_rate():
    file = shared.made()
    reader, writer = os.pipe()
    begun = time.monotonic()
    children = []
    for _ in range(3):
        if not (child := os.fork()):
            bucket = rates.Bucket(rates.Rate(200, 1.0), shared.SharedSlots(file).slot("ship"))
            other = rates.Bucket(rates.Rate(1, 3600.0), shared.SharedSlots(file).slot("another handler"))
            for _ in range(20):
                time.sleep(bucket.reserve())
                os.write(writer, b"x")
            other.reserve()
            os._exit(0)
        children.append(child)
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
    took = time.monotonic() - begun
    assert os.read(reader, 1000) == b"x" * 60
    assert took >= (60 - 10 - 1) / 200
    for each in (file, reader, writer):
        os.close(each)


def test_what_is_not_used_is_not_saved(monkeypatch):
    now = 1000.0
    monkeypatch.setattr(rates, "monotonic", lambda: now)
    bucket = rates.Bucket(rates.Rate(100, 1.0))
    assert [bucket.reserve() for _ in range(5)] == [0.0] * 5
    assert bucket.reserve() == pytest.approx(0.01)
    now += 100
    assert [bucket.reserve() for _ in range(5)] == [0.0] * 5
    assert bucket.reserve() > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 50}, 'rate must be a number of events in a time, such as "50/s"'),
        ({"rate": "fast"}, "rate must be"),
        ({"rate_by": "tenant"}, "rate_by is for rate="),
        ({"rate": "1/s", "rate_by": 7}, "rate_by must be text"),
    ],
)
def test_what_cannot_be_a_rate_is_named_at_the_start(options, message):
    @evbus.handler("orders", "placed", **options)
    def function(hub, event): ...

    assert message in getattr(function, evbus.MARK)[0].problem()

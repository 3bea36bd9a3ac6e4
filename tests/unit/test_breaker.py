"""A handler's breaker: when it opens, what it lets through, and what an outage costs."""

import asyncio
import time
from itertools import pairwise

import pytest

from evbus_like import handlers as evbus
from evbus_like.engine.receiving import breaker as breakers
from tests.unit.fakes import until
from tests.unit.sources import Log, Source, consuming

QUICK = {"backoff": 0.001, "max_backoff": 0.001, "attempts": 5}


class Dependency:
    """What a handler needs: it raises while it is down, and notes each call."""

    def __init__(self, down=True, error=ConnectionError):
        self.down = down
        self.error = error
        self.calls = []
        self.times = []

    def __call__(self, event):
        self.calls.append(event.id)
        self.times.append(time.monotonic())
        if self.down:
            raise self.error("down")


async def test_it_opens_when_enough_calls_fail_and_lets_one_event_through_to_try_after_each_pause():
    source, needed = Source(), Dependency()
    breaker = evbus.Breaker(failures=0.5, window=60, pause=0.1, at_least=3)
    async with consuming(source, Log(needed), max_workers=1, prefetch=10, breaker=breaker, **QUICK) as consumer:
        source.put(*range(10))
        await until(lambda: consumer.state == "tripped")
        assert consumer.trouble.startswith("its breaker is open: ")
        await until(lambda: len(needed.calls) >= 6)  # one after each pause, each with another event
        assert len(set(needed.calls[3:6])) == 3
        assert all(later - earlier >= 0.09 for earlier, later in pairwise(needed.times[2:6]))
        needed.down = False
        await until(lambda: len([each for each in source.settled if each[0] == "ack"]) == 10)
        assert (consumer.state, consumer.trouble) == ("open", "")


@pytest.mark.parametrize("order", [None, "key"])
async def test_an_outage_costs_no_attempt_and_makes_no_dead_letter(order):
    source, needed = Source(), Dependency()
    breaker = evbus.Breaker(pause=0.01, at_least=2)
    attempts = []

    def function(event):
        attempts.append((event.id, event.attempt))
        needed(event)

    async with consuming(source, Log(function), breaker=breaker, max_workers=2, **QUICK) as consumer:
        source.put(*range(4), order=order)
        await until(lambda: len(needed.calls) > 40)
        assert consumer.stats.dead == 0
        needed.down = False
        await until(lambda: len([each for each in source.settled if each[0] == "ack"]) == 4)
    assert max(attempt for _, attempt in attempts) <= 3
    if order is not None:
        assert [each for verb, each in source.settled] == ["0", "1", "2", "3"]


async def test_calls_that_were_under_way_when_it_opened_cost_no_attempt():
    source, gate = Source(), asyncio.Event()

    async def function(event):
        if event.attempt == 1 and int(event.id) < 3:
            if event.id == "2":
                await gate.wait()
            raise ConnectionError("down")

    log, breaker = Log(function), evbus.Breaker(pause=0.05, at_least=2)
    async with consuming(source, log, breaker=breaker, max_workers=3, on_error=evbus.REJECT) as consumer:
        source.put(0, 1, 2)
        await until(lambda: consumer.state == "tripped")
        gate.set()
        await until(lambda: log.begun.count("2") == 2)
    assert ("dead", "2") not in source.settled[:2]


async def test_while_it_tries_with_one_event_no_other_is_handled():
    source, gate, busy = Source(), asyncio.Event(), []
    needed = Dependency()

    async def function(event):
        busy.append(event.id)
        if not needed.down:
            await gate.wait()
        needed(event)

    async with consuming(source, Log(function), breaker=evbus.Breaker(pause=0.05, at_least=3), **QUICK) as consumer:
        source.put(*range(10))
        await until(lambda: consumer.state == "tripped")
        await until(lambda: not consumer.busy)
        needed.down, busy[:] = False, []
        await until(lambda: busy)
        await asyncio.sleep(0.1)
        assert len(busy) == 1
        gate.set()
        await until(lambda: len([each for each in source.settled if each[0] == "ack"]) == 10)


async def test_a_few_failures_among_many_successes_do_not_open_it_and_old_ones_are_forgotten(monkeypatch):
    now = 1000.0
    monkeypatch.setattr(breakers, "monotonic", lambda: now)
    made = breakers.CircuitBreaker(evbus.Breaker(failures=0.5, window=10, at_least=4), "x")
    for _ in range(10):
        made.succeeded()
    for _ in range(9):
        made.failed(None, OSError())
    assert made.state == "closed"
    now += 11
    for _ in range(3):
        made.failed(None, OSError())
    assert made.state == "closed"  # three calls are too few to say
    made.failed(None, OSError())
    assert made.state == "open"
    made.close()


async def test_only_the_exceptions_that_it_names_count_and_no_decision_of_the_handler():
    made = breakers.CircuitBreaker(evbus.Breaker(at_least=1, only=(OSError, KeyError)), "x")
    made.failed(None, ValueError())
    assert made.state == "closed"
    made = breakers.CircuitBreaker(evbus.Breaker(at_least=1), "x")
    for error in (evbus.Reject("no"), evbus.Retry(after=1), asyncio.CancelledError()):
        made.failed(None, error)
    assert made.state == "closed"


async def test_an_event_that_says_nothing_of_the_dependency_gives_the_trial_to_the_next():
    source, needed = Source(), Dependency()
    breaker = evbus.Breaker(pause=0.05, at_least=1)
    async with consuming(
        source,
        Log(needed),
        max_workers=1,
        prefetch=5,
        breaker=breaker,
        where=lambda headers, body: not headers,
        **QUICK,
    ) as consumer:
        source.put(1)
        await until(lambda: consumer.state == "tripped")
        needed.down = False
        source.put(2, 3, headers={"not": "wanted"})
        await until(lambda: ("ack", "1") in source.settled)
    assert consumer.stats.filtered == 2


async def test_an_event_that_fails_by_itself_becomes_a_dead_letter_in_the_end(monkeypatch):
    monkeypatch.setattr(breakers, "MOST_TRIALS", 3)
    source = Source()
    async with consuming(source, Log(Dependency()), breaker=evbus.Breaker(pause=0.005, at_least=1), **QUICK):
        source.put(1)
        await until(lambda: ("dead", "1") in source.settled)
    assert "given up after 5 attempts" in source.reasons["1"]


async def test_a_batch_stops_looking_for_what_spoils_it_when_the_breaker_opens():
    source, needed, calls = Source(), Dependency(), []

    async def handle(events):
        calls.append(len(events))
        for event in events:
            needed(event)

    breaker = evbus.Breaker(pause=0.1, at_least=3)
    async with consuming(source, handle, batch=64, linger=0.05, max_workers=1, breaker=breaker, **QUICK) as seen:
        source.put(*range(64))
        await until(lambda: seen.state == "tripped")
        assert len(calls) < 20
        calls.clear()
        await until(lambda: calls)
        assert calls[0] == 1  # which tries
        needed.down = False
        await until(lambda: len([each for each in source.settled if each[0] == "ack"]) == 64)
    assert seen.stats.dead == 0


async def test_a_stop_does_not_wait_for_the_pause():
    source = Source()
    async with consuming(source, Log(Dependency()), breaker=evbus.Breaker(pause=1000, at_least=1), **QUICK) as consumer:
        source.put(1, 2, 3)
        await until(lambda: consumer.state == "tripped")
    assert {event.id for event in source.queue} == {"1", "2", "3"}


@pytest.mark.parametrize(
    ("breaker", "message"),
    [
        (True, "breaker must be evbus.Breaker(...), not True"),
        (
            evbus.Breaker(failures=50),
            "breaker: failures must be the share of failed calls, greater than 0 and at most 1",
        ),
        (evbus.Breaker(failures=0), "breaker: failures must be"),
        (evbus.Breaker(window="60s"), "breaker: window must be seconds, greater than 0"),  # type: ignore[arg-type]
        (evbus.Breaker(pause=-1), "breaker: pause must be seconds, greater than 0"),
        (evbus.Breaker(at_least=1.5), "breaker: at_least must be a number of calls"),  # type: ignore[arg-type]
        (evbus.Breaker(only="OSError"), "breaker: only must be classes of exceptions, and 'OSError' is none"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_a_breaker_is_named_at_the_start(breaker, message):
    @evbus.handler("orders", "placed", breaker=breaker)
    def function(hub, event): ...

    assert message in getattr(function, evbus.MARK)[0].problem()

"""Handlers of batches: what is in one, what becomes of each event, and which event spoils it."""

import asyncio
import logging

import pytest

from evbus_like import handlers as evbus
from evbus_like.engine.handling import current
from evbus_like.engine.receiving.batch_invoker import WrongOutcomes, errors_of
from tests.unit.fakes import until
from tests.unit.sources import Source, consuming


class Batches:
    """Handles batches by a function, and notes the ids of each."""

    def __init__(self, function=lambda events: None):
        self.function = function
        self.calls = []

    async def __call__(self, events):
        self.calls.append([event.id for event in events])
        result = self.function(events)
        return await result if asyncio.iscoroutine(result) else result


def spoilt_by(*ids, error=ValueError):
    def function(events):
        for event in events:
            if event.id in ids:
                raise error(f"{event.id} is bad")

    return Batches(function)


def count(source, verb):
    return len([each for each in source.settled if each[0] == verb])


async def test_a_batch_has_at_most_so_many_events_and_all_are_acknowledged_when_it_returns():
    source, log = Source(), Batches()
    source.put(*range(25))
    async with consuming(source, log, batch=10, linger=0.05, max_workers=1) as consumer:
        await until(lambda: count(source, "ack") == 25)
    assert [len(call) for call in log.calls] == [10, 10, 5]
    assert [each for call in log.calls for each in call] == [str(number) for number in range(25)]
    assert consumer.stats.handled == 25


async def test_a_batch_that_is_not_full_is_handled_when_its_first_event_is_as_old_as_linger_says():
    source, log = Source(), Batches()
    async with consuming(source, log, batch=10, linger=1.0):
        now = asyncio.get_running_loop().time
        begun = now()
        for number in range(3):
            source.put(number)
            await asyncio.sleep(0.02)
        await until(lambda: log.calls)
        assert now() - begun >= 1.0
    assert log.calls == [["0", "1", "2"]]


async def test_the_prefetch_is_enough_for_as_many_batches_as_there_may_be_at_once():
    source, gate = Source(), asyncio.Event()
    log = Batches(lambda events: gate.wait())
    source.put(*range(100))
    async with consuming(source, log, batch=10, linger=5, max_workers=3):
        await until(lambda: len(log.calls) == 3)
        await asyncio.sleep(0.02)
        assert [len(call) for call in log.calls] == [10, 10, 10]
        gate.set()
        await until(lambda: count(source, "ack") == 100)


async def test_a_batch_that_fails_is_halved_until_the_events_that_spoil_it_are_found():
    source, log = Source(), spoilt_by("5", "11")
    source.put(*range(16))
    async with consuming(source, log, batch=16, linger=0.05, on_error=evbus.REJECT) as consumer:
        await until(lambda: len(source.settled) == 16)
    assert sorted(source.settled, key=lambda each: int(each[1])) == [
        ("dead" if number in (5, 11) else "ack", str(number)) for number in range(16)
    ]
    assert source.reasons == {"5": "rejected: ValueError: 5 is bad", "11": "rejected: ValueError: 11 is bad"}
    assert (consumer.stats.handled, consumer.stats.failed, consumer.stats.dead) == (14, 2, 2)
    assert len(log.calls) == 1 + 2 * (2 + 2 + 2) + 2  # the whole, and on each of four levels the halves of what failed


async def test_the_event_that_spoils_a_batch_is_retried_by_itself_and_its_attempts_are_counted():
    source, log = Source(retries=True), spoilt_by("1")
    source.put(*range(4))
    async with consuming(source, log, batch=4, linger=0.01, attempts=3, backoff=0.001) as consumer:
        await until(lambda: count(source, "dead") == 1)
    assert "given up after 3 attempts" in source.reasons["1"]
    assert (consumer.stats.retried, consumer.stats.handled) == (2, 3)


async def test_each_event_has_the_outcome_that_the_list_says():
    source = Source(retries=True)
    outcomes = {"0": None, "1": ValueError("bad"), "2": evbus.REJECT, "3": evbus.Retry(after=0.01), "4": evbus.Requeue}

    def function(events):
        return [outcomes[event.id] if event.attempt == 1 else None for event in events]

    source.put(*range(5))
    rules = [evbus.on(ValueError, evbus.REJECT)]
    async with consuming(source, Batches(function), batch=5, linger=0.05, rules=rules):
        await until(lambda: len(source.settled) >= 7)
    first = {each: verb for verb, each in reversed(source.settled)}
    assert first == {"0": "ack", "1": "dead", "2": "dead", "3": "retry", "4": "requeue"}
    assert source.reasons["1"] == "rejected: ValueError: bad"


@pytest.mark.parametrize("raised", [True, False])
async def test_one_decision_is_for_all_events_and_the_batch_is_not_halved(raised):
    def function(events):
        if raised:
            raise evbus.Reject("the month is closed")
        return evbus.Reject("the month is closed")

    source, log = Source(), Batches(function)
    source.put(*range(4))
    async with consuming(source, log, batch=4, linger=0.05):
        await until(lambda: count(source, "dead") == 4)
    assert log.calls == [["0", "1", "2", "3"]]
    assert set(source.reasons.values()) == {"rejected: the month is closed"}


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ([None], "it returned 1 outcomes for 2 events; return one for each, or None"),
        ([None, False], "outcome 2 must be None, an exception, evbus.RETRY, evbus.REQUEUE or evbus.REJECT, not False"),
        (["rejct", None], "outcome 1 must be None, an exception"),
    ],
)
async def test_a_list_that_does_not_say_what_became_of_each_event_is_an_error_for_all(result, message):
    with pytest.raises(WrongOutcomes) as found:
        errors_of(result, 2)
    assert message in str(found.value)
    source, log = Source(), Batches(lambda events: result)
    source.put(1, 2)
    async with consuming(source, log, batch=2, linger=0.05, on_error=evbus.REJECT):
        await until(lambda: count(source, "dead") == 2)
    assert len(log.calls) == 1


def test_what_else_a_handler_returns_means_nothing_as_for_one_event():
    assert errors_of("COPY 2", 2) == errors_of(None, 2) == errors_of(2, 2) == [None, None]


async def test_events_of_one_key_are_in_one_batch_in_their_order_and_wait_behind_one_that_is_retried():
    source, log = Source(), Batches()

    def function(events):
        for event in events:
            if event.id == "a1" and event.attempt < 3:
                raise ValueError("not yet")

    log.function = function
    for number in range(4):
        source.put(f"a{number}", order="a")
        source.put(f"b{number}", order="b")
    async with consuming(source, log, batch=8, linger=0.05, backoff=0.05) as consumer:
        await until(lambda: count(source, "ack") == 8)
    done = [each for verb, each in source.settled]
    assert [each for each in done if each[0] == "a"] == ["a0", "a1", "a2", "a3"]
    assert [each for each in done if each[0] == "b"] == ["b0", "b1", "b2", "b3"]
    assert log.calls[0] == ["a0", "a1", "a2", "a3", "b0", "b1", "b2", "b3"]
    # Once a1 has failed by itself, a2 and a3 are called behind it alone
    of_a = ["a1", "a2", "a3"]
    assert log.calls[1:5] == [["a0", *of_a], ["a0", "a1"], ["a0"], ["a1"]]
    assert [call for call in log.calls[5:] if call[0][0] == "a"] == [of_a, ["a1"], of_a]
    assert (consumer.stats.retried, consumer.stats.handled) == (2, 8)


async def test_two_events_of_one_key_that_ask_for_a_retry_are_handled_again_in_their_order():
    source, after = Source(retries=True), {"a0": 0.05, "a1": 0.001, "a2": 0.001}
    log = Batches(
        lambda events: [evbus.Retry(after=after[event.id]) if event.attempt == 1 else None for event in events]
    )
    source.put("a0", "a1", "a2", order="a")
    async with consuming(source, log, batch=3, linger=0.01) as consumer:
        await until(lambda: count(source, "ack") == 3)
    assert source.settled == [("ack", "a0"), ("ack", "a1"), ("ack", "a2")]
    assert [each for call in log.calls[1:] for each in call] == ["a0", "a1", "a2"]
    assert (consumer.stats.handled, consumer.stats.failed) == (3, 3)


async def test_events_of_one_key_fill_a_batch_as_they_come():
    source, log = Source(batch=2), Batches()
    async with consuming(source, log, batch=6, linger=30):
        source.put(*range(6), order="key")
        await until(lambda: log.calls)
    assert log.calls == [["0", "1", "2", "3", "4", "5"]]


async def test_a_repeat_is_handled_once_also_within_a_batch():
    source, log = Source(), Batches()
    async with consuming(source, log, batch=4, linger=0.05, dedup=10, max_workers=2) as consumer:
        source.put("x", "y")
        await until(lambda: count(source, "ack") == 2)
        source.put("x")
        await until(lambda: consumer.stats.repeats == 1)
    assert [each for call in log.calls for each in call] == ["x", "y"]


async def test_of_events_with_one_id_in_a_batch_the_first_is_handled_and_the_others_are_its_repeats():
    source, log = Source(), Batches()
    async with consuming(source, log, batch=5, linger=30, dedup=10) as consumer:
        source.put("x", "x", "y", "x", "y")
        await until(lambda: len(source.settled) == 5)
    assert log.calls == [["x", "y"]]
    assert count(source, "ack") == 5
    assert (consumer.stats.handled, consumer.stats.repeats) == (2, 3)


async def test_if_the_first_event_of_an_id_in_a_batch_is_given_up_the_second_is_handled():
    source = Source()
    fails = iter([True, False])
    log = Batches(lambda events: evbus.REJECT if next(fails) else None)
    async with consuming(source, log, batch=2, linger=30, dedup=10) as consumer:
        source.put("x", "x")
        await until(lambda: len(source.settled) == 2)
    assert log.calls == [["x"], ["x"]]
    assert source.settled == [("dead", "x"), ("ack", "x")]
    assert consumer.stats.repeats == 0


async def test_events_without_an_id_repeat_none():
    source, log = Source(), Batches()
    async with consuming(source, log, batch=3, linger=30, dedup=10) as consumer:
        source.put("", "", "x")
        await until(lambda: len(source.settled) == 3)
    assert log.calls == [["", "", "x"]]
    assert consumer.stats.repeats == 0


async def test_a_filter_that_fails_for_one_event_fails_for_this_one_alone():
    def wanted(headers, body):
        if "broken" in headers:
            raise ValueError("this filter is wrong")
        return True

    source, log = Source(), Batches()
    source.put(1, 2)
    source.put(3, headers={"broken": 1})
    async with consuming(source, log, batch=3, linger=30, where=wanted, on_error=evbus.REJECT):
        await until(lambda: len(source.settled) == 3)
    assert log.calls == [["1", "2"]]
    assert source.reasons == {"3": "rejected: ValueError: this filter is wrong"}


async def test_a_body_that_cannot_be_read_and_one_that_is_not_wanted_are_in_no_batch():
    source, log = Source(), Batches()
    source.max_event_bytes = 4  # of "body", which has 4
    source.put(1, 2, 3)
    source.put(4, headers={"test": True})
    source.queue[1].raw = b"too large"
    async with consuming(source, log, batch=4, linger=0.05, where=lambda headers, body: "test" not in headers) as seen:
        await until(lambda: len(source.settled) == 4)
    assert log.calls == [["1", "3"]]
    assert {("dead", "2"), ("ack", "4")} < set(source.settled)
    assert (seen.stats.handled, seen.stats.filtered, seen.stats.failed) == (2, 1, 1)


async def test_what_a_batch_puts_carries_on_the_correlation_of_its_events_where_they_have_the_same():
    source, seen = Source(), []

    def function(events):
        seen.append(current().headers)

    async with consuming(source, Batches(function), batch=2, linger=0.05):
        source.put(1, 2, headers={"correlation-id": "chain"})
        await until(lambda: len(seen) == 1)
        source.put(3, 4)
        await until(lambda: len(seen) == 2)
        source.put(5)
        await until(lambda: len(seen) == 3)
    assert seen == [{"correlation-id": "chain"}, {}, {"correlation-id": "5", "causation-id": "5"}]


async def test_a_secret_of_another_event_is_in_no_reason():
    def function(events):
        for event in events:
            event.body = {"card": f"4711-{event.id}"}
        raise evbus.Reject("4711-1 and 4711-2 are stolen")

    source = Source()
    async with consuming(source, Batches(function), batch=2, linger=0.05, sensitive="card"):
        source.put(1, 2)
        await until(lambda: count(source, "dead") == 2)
    assert set(source.reasons.values()) == {"rejected: *** and *** are stolen"}


async def test_a_stop_gives_back_what_waits_for_a_batch_to_be_full():
    source, log = Source(), Batches()
    async with consuming(source, log, batch=10, linger=60):
        source.put(1, 2)
        await until(lambda: not source.queue)
        await asyncio.sleep(0.01)
    assert log.calls == []
    assert [event.id for event in source.queue] == ["1", "2"]


async def test_after_a_lost_connection_events_are_handled_in_the_next_batch():
    source, log = Source(), Batches()
    async with consuming(source, log, batch=3, linger=0.2):
        source.put(1, 2, order="key")
        await until(lambda: not source.queue)
        source.lose()
        await until(lambda: source.feed == 2)
        source.put(3, order="key")
        await until(lambda: count(source, "ack") == 3)
    assert [each for call in log.calls for each in call] == ["1", "2", "3"]


async def test_events_that_their_source_takes_back_while_the_batch_fills_are_not_called():
    source, log = Source(), Batches()
    async with consuming(source, log, batch=4, linger=30) as consumer:
        source.put(1, 2, 3)
        await until(lambda: not source.queue)
        for event in source.given:
            event.revoked = event.id in ("1", "3")
        source.put(4)
        await until(lambda: count(source, "ack") == 2)
    assert log.calls == [["2", "4"]]
    assert {("ack", "2"), ("ack", "4")} == set(source.settled)
    assert consumer.stats.lost == 2


async def test_a_batch_of_which_the_source_takes_all_back_is_not_called_and_the_next_one_is():
    source, log = Source(), Batches()
    async with consuming(source, log, batch=2, linger=30):
        source.put(1, 2)
        for event in source.queue:
            event.revoked = True
        source.put(3, 4)
        await until(lambda: count(source, "ack") == 2)
    assert log.calls == [["3", "4"]]


async def test_an_event_behind_a_failed_one_of_its_key_that_the_source_takes_back_is_not_called_again():
    def function(events):
        if events[0].attempt == 1:
            events[-1].revoked = events[-1].id == "a2"
            raise ValueError("not yet")

    source, log = Source(), Batches(function)
    source.put("a1", "a2", order="a")
    async with consuming(source, log, batch=2, linger=0.01, backoff=0.001) as consumer:
        await until(lambda: count(source, "ack") == 1)
        source.put("a3", order="a")
        source.put("b")
        await until(lambda: count(source, "ack") == 3)
    assert log.calls[:3] == [["a1", "a2"], ["a1"], ["a1"]]
    assert "a2" not in [each for call in log.calls[1:] for each in call]
    assert consumer.stats.lost == 1


async def test_events_whose_handling_breaks_in_our_own_code_become_dead_letters_and_the_next_batch_is_handled(
    monkeypatch,
):
    def broken(*_arguments):
        raise RuntimeError("no")

    monkeypatch.setattr("evbus_like.engine.receiving.invoker.log_handler_failure", broken)
    source, log = Source(), spoilt_by("1")
    async with consuming(source, log, batch=1, linger=0, max_workers=1) as consumer:
        source.put(1, 2)
        await until(lambda: len(source.settled) == 2)
    assert source.settled == [("dead", "1"), ("ack", "2")]
    assert source.reasons == {"1": "it could not be handled: RuntimeError"}
    assert consumer.stats.handled == 1


async def test_a_cancelled_task_among_the_outcomes_of_a_gather_is_an_error_of_its_event():
    async def each(event):
        if event.id == "2":
            asyncio.current_task().cancel()
            await asyncio.sleep(0)

    async def function(events):
        return await asyncio.gather(*map(each, events), return_exceptions=True)

    source, log = Source(), Batches(function)
    source.put(1, 2, 3)
    async with consuming(source, log, batch=3, linger=30, on_error=evbus.REJECT):
        await until(lambda: len(source.settled) == 3)
    assert source.reasons == {"2": "rejected: RuntimeError: a task of the handler was cancelled"}


async def test_an_exception_s_class_is_an_outcome_as_its_instance_is():
    source, log = Source(), Batches(lambda events: [None, KeyError])
    source.put(1, 2)
    async with consuming(source, log, batch=2, linger=30, on_error=evbus.REJECT):
        await until(lambda: len(source.settled) == 2)
    assert set(source.settled) == {("ack", "1"), ("dead", "2")}
    assert source.reasons["2"].startswith("rejected: KeyError")


async def test_at_debug_each_event_of_a_batch_has_a_line_with_what_became_of_it(caplog):
    source, log = Source(), Batches(lambda events: [None, evbus.REJECT])
    with caplog.at_level(logging.DEBUG, "evbus_like.flow"):
        async with consuming(source, log, batch=2, linger=30):
            source.put(1, 2)
            await until(lambda: len(source.settled) == 2)
    handled = [each.split(" in 0.")[0] for each in caplog.messages if " by shipping.ship in 0." in each]
    assert handled == [
        "orders.kind 1: handled by shipping.ship",
        "orders.kind 2: failed, the event becomes a dead letter by shipping.ship",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": 0}, "batch must be a whole number greater than 0"),
        ({"batch": 10_001}, "batch must be a whole number greater than 0, and at most 10000"),
        ({"linger": 1}, "linger is for batch="),
        ({"batch": 2, "linger": -1}, "linger must be seconds, at most 3600, not -1"),
        ({"batch": 20, "prefetch": 10}, "prefetch=10 is less than batch=20, so that no batch would ever be full"),
    ],
)
def test_what_cannot_be_a_batch_is_named_at_the_start(options, message):
    @evbus.handler("orders", "placed", **options)
    def function(hub, events): ...

    assert message in getattr(function, evbus.MARK)[0].problem()

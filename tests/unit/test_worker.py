"""engine/sending/worker.py and sender.py: what a lane does when its destination fails, in each of the ways."""

import asyncio
import json

import pytest

from evbus_like.engine.errors import DestinationRefused, PoisonEvent, TransientError, UnknownOutcome
from evbus_like.engine.sending import health
from evbus_like.engine.sending.attempts import UNKNOWN_KIND_ATTEMPTS
from tests.unit.fakes import HANG, Broken, Destination, entry, running, until


@pytest.fixture(autouse=True)
def quick_refusals(monkeypatch):
    monkeypatch.setattr(health, "REFUSED_BASE", 0.0001)


async def send(destination, count=10, stop=5.0, **options):
    """Put 0..count-1 to one lane, stop, and give the account and the failures."""
    async with running(entry(destination, **options)) as bus:
        for n in range(count):
            bus.putter.put_nowait(body=n)
        await settled(bus)
        account = await bus.stop(stop)
        assert bus.bus.intake.empty()
    return account, bus.failures


async def settled(bus):
    """Wait until every event put is delivered or given up: stop does not wait for a destination that refuses."""
    await until(lambda: bus.bus.intake.empty() and not any(lane.queue for lane in bus.lanes))


def numbers(bodies):
    return [json.loads(body) for body in bodies]


def first_seen(bodies):
    return list(dict.fromkeys(numbers(bodies)))


async def test_everything_arrives_in_order_and_in_batches():
    destination = Destination()

    account, failures = await send(destination, 100, batch_events=30)

    assert numbers(destination.received) == list(range(100))
    assert [len(batch) for batch in destination.batches] == [30, 30, 30, 10]
    assert account.complete
    assert failures == []
    assert destination.calls == {"open": 1, "publish": 4, "close": 1}


@pytest.mark.parametrize(
    "trouble",
    [
        TransientError("lost"),
        UnknownOutcome("silence"),
        DestinationRefused("wrong password"),
        ConnectionResetError("reset"),
        TimeoutError("slow"),
        asyncio.CancelledError("a library's own"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_batch_that_fails_as_a_whole_is_sent_again_over_a_new_connection(trouble):
    destination = Destination(publish=[trouble, trouble])

    account, _ = await send(destination, 5)

    assert numbers(destination.received) == [0, 1, 2, 3, 4]
    assert destination.calls["open"] == 3
    assert account.complete
    one_by_one = isinstance(trouble, (DestinationRefused, ConnectionError))
    assert account.retries == (5 + 1 if one_by_one else 5 + 5), "one event is enough to see whether it still fails"


@pytest.mark.parametrize(
    "trouble", [TransientError("x"), ValueError("?"), OSError("y"), asyncio.CancelledError(), TimeoutError()], ids=repr
)
async def test_a_destination_that_is_absent_at_start_is_tried_until_it_is_there(trouble):
    destination = Destination(open=[trouble] * 20)

    account, _ = await send(destination, 3)

    assert numbers(destination.received) == [0, 1, 2]
    assert account.complete


async def test_a_refusal_is_reported_once_and_the_events_are_held():
    destination = Destination(open=[DestinationRefused("access refused")] * 5)

    async with running(entry(destination)) as bus:
        bus.putter.put_nowait(body=1)
        await until(lambda: destination.received)

    assert [(str(f.exception), f.final) for f in bus.failures] == [("access refused", False)]


async def test_a_refusing_destination_does_not_keep_stop_waiting():
    destination = Broken(lambda: DestinationRefused("no"))

    async with running(entry(destination)) as bus:
        bus.putter.put_nowait(body=1)
        await until(lambda: destination.calls["open"] > 1)
        account = await asyncio.wait_for(bus.bus.stop(60), HANG)

    assert account.remaining == 1
    assert account.balanced


async def test_a_poison_event_is_dead_lettered_alone_and_the_rest_goes_on():
    def refuse_three(events):
        if any(event.body == b"3" for event in events):
            raise PoisonEvent("three is bad")

    destination = Destination(publish=[refuse_three] * 20)

    account, failures = await send(destination, 6)

    assert numbers(destination.received) == [0, 1, 2, 4, 5]
    assert [(f.event.body, str(f.exception), f.final) for f in failures] == [(b"3", "three is bad", True)]
    assert (account.delivered, account.dead_lettered, account.balanced) == (5, 1, True)


async def test_an_error_of_unknown_kind_costs_only_the_event_that_causes_it():
    def choke(events):
        if any(event.body == b"3" for event in events):
            raise ValueError("what is this")

    destination = Destination(publish=[choke] * 50)

    account, failures = await send(destination, 6)

    assert numbers(destination.received) == [0, 1, 2, 4, 5]
    assert [f.event.body for f in failures] == [b"3"]
    assert destination.batches.count([b"3"]) == UNKNOWN_KIND_ATTEMPTS
    assert account.dead_lettered == 1


async def test_outcomes_settle_each_event_by_itself():
    destination = Destination(publish=[[None, PoisonEvent("bad"), None, TransientError("later"), None]])

    account, failures = await send(destination, 5)

    assert numbers(destination.received) == [0, 2, 4, 3]
    assert [f.event.body for f in failures] == [b"1"]
    assert (account.delivered, account.dead_lettered, account.retries) == (4, 1, 1)


async def test_what_fails_at_the_tail_is_sent_again_in_order():
    lost = TransientError("lost")
    destination = Destination(publish=[[None, None, lost, lost, lost], [None, lost, lost]])

    await send(destination, 5)

    assert numbers(destination.received) == [0, 1, 2, 3, 4]


async def test_what_is_sent_again_goes_before_what_is_behind_it():
    lost = TransientError("lost")
    destination = Destination(publish=[[None, None, lost, lost, lost], [None, lost, lost]])

    await send(destination, 12, batch_events=5)

    assert numbers(destination.received) == list(range(12))


@pytest.mark.parametrize("answer", [[], [None], [TransientError("x")], [PoisonEvent("x")], [None] * 9], ids=repr)
async def test_a_plugin_that_gives_too_few_or_too_many_outcomes_loses_nothing(answer):
    destination = Destination(publish=[answer])

    account, _ = await send(destination, 3)

    assert account.accepted == 3
    assert account.balanced, account
    assert set(numbers(destination.received)) | {0} >= {1, 2}


async def test_tries_to_connect_before_an_event_came_are_none_of_its_own():
    destination = Destination(open=[TransientError("away")] * 20)
    async with running(entry(destination, attempts=5)) as bus:
        await until(lambda: destination.calls["open"] >= 10)
        before = destination.calls["open"]
        bus.putter.put_nowait("k", 1)
        await until(lambda: bus.failures)
        assert destination.calls["open"] - before >= 4  # one may have been under way
        assert bus.failures[0].attempts == 5


async def test_an_event_is_given_up_after_its_own_tries_and_not_after_those_of_others():
    lost = TransientError("lost")
    # Given: event 0 fails in three batches, and event 1 is with it in the third alone
    destination = Destination()

    def joined(events):
        bus.putter.put_nowait(body=1)
        bus.bus.admission.admit_batch(bus.bus.intake.take(1))
        return [lost]

    async with running(entry(destination, attempts=3)) as bus:
        destination.script["publish"].extend([[lost], joined, lambda events: [lost] * len(events)])
        bus.putter.put_nowait(body=0)
        await settled(bus)
        await bus.stop()

    # Then
    assert [(f.event.body, f.attempts) for f in bus.failures if f.event.body == b"1"] == []
    assert b"1" in destination.received


async def test_an_event_is_given_up_after_as_many_tries_as_the_profile_says():
    destination = Broken(lambda: TransientError("never"))

    account, failures = await send(destination, 3, attempts=4)

    assert destination.sent.count(b"0") == 4
    assert account.dead_lettered == 3
    assert {f.attempts for f in failures} == {4}


async def test_a_publish_that_hangs_is_cut_off_and_sent_again(caplog):
    destination = Destination(publish=["hang"])

    account, _ = await send(destination, 2, timeout=0.05)

    assert any("no answer for a batch of 2 within its timeout of 0.05 s" in line for line in caplog.messages)
    assert numbers(destination.received) == [0, 1]
    assert destination.sent.count(b"0") == 2
    assert account.complete


async def test_an_open_that_hangs_is_cut_off_and_tried_again():
    destination = Destination(open=["hang"])

    account, _ = await send(destination, 2, timeout=0.05)

    assert account.complete


async def test_an_open_that_hangs_is_a_lost_connection_and_not_an_unknown_outcome():
    async with running(entry(Destination(open=["hang"] * 100), timeout=0.01)) as bus:
        lane = bus.lanes[0]
        await until(lambda: lane.error is not None)

        assert isinstance(lane.error, TransientError)


async def test_a_close_that_hangs_or_raises_does_not_stop_the_lane():
    destination = Destination(publish=[TransientError("a"), TransientError("b")], close=["hang", ValueError("c")])

    account, _ = await send(destination, 2, timeout=0.05)

    assert account.complete


async def test_stop_ends_by_its_deadline_when_everything_hangs():
    destination = Destination(publish=["hang"], close=["hang"] * 3)

    async with running(entry(destination)) as bus:
        bus.putter.put_nowait(body=1)
        await until(lambda: destination.batches)
        account = await asyncio.wait_for(bus.bus.stop(0.1), HANG)

    assert (account.accepted, account.remaining, account.balanced) == (1, 1, True)


async def test_stop_with_nothing_to_deliver_does_not_wait_for_a_connection():
    destination = Destination(open=["hang"])

    async with running(entry(destination)) as bus:
        await until(lambda: destination.calls["open"])
        account = await asyncio.wait_for(bus.bus.stop(4), 2)

    assert account.accepted == 0


async def test_stop_ends_a_worker_whose_library_turns_our_cancellation_into_its_own_error():
    cancelled = []

    async def publish(events):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(1)
            if len(cancelled) > 3:  # so that the test itself can end
                raise
            raise ConnectionError("closed by us") from None

    destination = Destination()
    destination.publish = publish
    async with running(entry(destination)) as bus:
        bus.putter.put_nowait(body=1)
        await until(lambda: destination.is_open)
        await bus.stop(0.1)

        leaked = [task for task in asyncio.all_tasks() if task.get_name().startswith("evbus_like lane")]
        for _ in range(5 * len(leaked)):
            leaked[0].cancel()
            await asyncio.wait(leaked, timeout=0.01)
        assert leaked == []


async def test_a_dead_destination_does_not_slow_a_live_one():
    dead, live = Destination(publish=["hang"]), Destination()

    async with running(entry(dead, "dead"), entry(live, "live")) as bus:
        for n in range(1000):
            bus.putter.put_nowait(body=n)
        await until(lambda: len(live.received) == 1000)

    assert dead.received == []


async def test_no_task_is_made_for_an_event():
    async with running(entry(Destination(publish=["hang"])), entry(name="b")) as bus:
        await asyncio.sleep(0)
        before = len(asyncio.all_tasks())
        for n in range(500):
            await bus.putter.put(body=n)

        assert len(asyncio.all_tasks()) <= before


async def test_the_lane_says_how_it_is():
    destination = Destination(open=[TransientError("no route to host")] * 1000)

    async with running(entry(destination)) as bus:
        lane = bus.lanes[0]
        await until(lambda: lane.state == "retrying")
        assert lane.trouble == "retrying: no route to host"
        destination.script["open"].clear()
        await until(lambda: lane.state == "open")
        assert lane.error is None
        await bus.stop()
        assert lane.state == "closed"


async def test_the_same_trouble_is_not_logged_at_every_try(caplog):
    destination = Destination(open=[TransientError("down")] * 50)

    await send(destination, 1)

    assert sum("cannot be reached" in line for line in caplog.messages) == 1
    assert sum("is back" in line for line in caplog.messages) == 1


@pytest.mark.parametrize("outcome", [False, True], ids=["raised", "as an outcome"])
async def test_an_exception_of_unknown_kind_is_logged_as_a_failure_not_as_a_lost_connection(caplog, outcome):
    error = ValueError("not a number")

    await send(Destination(publish=[[error] if outcome else error]), 1)

    assert any("failed, 1 events wait, trying again: ValueError: not a number" in line for line in caplog.messages)
    assert not any("cannot be reached" in line for line in caplog.messages)


# ---- any faults, in any order


async def test_one_event_that_spoils_a_batch_is_found_by_halves():
    def spoilt(events):
        if any(event.body == b"700" for event in events):
            raise PoisonEvent("the whole batch is refused for one")

    destination = Destination(publish=[spoilt] * 1000)
    account, _ = await send(destination, 1000)
    assert account.dead_lettered == 1
    assert numbers(destination.received) == [number for number in range(1000) if number != 700]
    assert destination.calls["publish"] < 40, "not one by one"


async def test_several_events_that_spoil_a_batch_are_all_found():
    bad = {b"3", b"4", b"40", b"99"}

    def spoilt(events):
        if any(event.body in bad for event in events):
            raise PoisonEvent("the whole batch is refused for one")

    destination = Destination(publish=[spoilt] * 1000)
    account, _ = await send(destination, 100)
    assert account.dead_lettered == 4
    assert set(destination.received) == {b"%d" % number for number in range(100)} - bad

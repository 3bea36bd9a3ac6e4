"""engine/bus.py: start, join, stop, and the account at the end."""

import asyncio
import logging
import threading

import pytest

from evbus_like.engine import bus as bus_module
from evbus_like.engine.bus import Bus
from evbus_like.engine.errors import LifecycleError, ProfileError, TransientError
from evbus_like.engine.put import Putter
from evbus_like.engine.sending.admission import NAMES_REMEMBERED
from tests.unit.fakes import HANG, Broken, Destination, entry, running, until


@pytest.fixture
def bus():
    return Bus(lambda failure: None)


async def start(bus, *entries):
    task = asyncio.create_task(bus.run(entries))
    await bus.join(HANG)
    return task


async def test_a_second_start_is_refused_and_the_first_goes_on():
    destination = Destination()
    async with running(entry(destination)) as bus:
        with pytest.raises(LifecycleError, match="start was called while the bus is running"):
            await bus.bus.run([])
        await bus.putter.put(body=1, confirm="delivered")

    assert destination.received == [b"1"]


async def test_stop_before_start_is_no_error_and_keeps_what_is_queued(bus, caplog):
    Putter(bus).put_nowait(body=1)

    account = await bus.stop(1)

    assert (account.put, account.queued) == (1, 1)
    assert "1 events stay queued" in caplog.text
    destination = Destination()
    task = await start(bus, entry(destination))
    await bus.stop(5)
    await task
    assert destination.received == [b"1"]


@pytest.mark.parametrize("slow", [0, 1])
async def test_a_stop_delivers_what_is_queued_at_every_destination(slow):
    destinations = [Destination(), Destination()]
    destinations[slow] = Destination(publish=[TransientError("busy")] * 5)
    async with running(*(entry(each, f"fake:{number}") for number, each in enumerate(destinations))) as bus:
        for number in range(3):
            bus.putter.put_nowait(body=number)
        account = await bus.stop()

    assert [each.received for each in destinations] == [[b"0", b"1", b"2"]] * 2
    assert account.complete


async def test_stop_twice_gives_the_same_account():
    async with running(entry()) as bus:
        await bus.putter.put(body=1)
        first, second = await asyncio.gather(bus.bus.stop(5), bus.bus.stop(5))
        third = await bus.bus.stop(5)

    assert first == second == third
    assert first.delivered == 1


async def test_a_stopped_bus_can_be_started_again(bus):
    first, second = Destination(), Destination()
    task = await start(bus, entry(first))
    await bus.stop(5)
    await task

    again = asyncio.create_task(bus.run([entry(second)]))
    await bus.join(HANG)
    await Putter(bus).put(body=2)
    account = await bus.stop(5)
    await again

    assert (first.received, second.received) == ([], [b"2"])
    assert (account.put, account.delivered) == (1, 1)


async def test_join_raises_what_start_raised_to_everybody_who_waits(bus):
    joiners = [asyncio.create_task(bus.join(2)) for _ in range(3)]
    await asyncio.sleep(0)

    bus.start_failed(ProfileError("wrong"))

    outcomes = await asyncio.gather(*joiners, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ProfileError] * 3


async def test_join_raises_what_start_raised_before_it(bus):
    bus.start_failed(ProfileError("wrong"))

    with pytest.raises(ProfileError):
        await bus.join(HANG)


async def test_join_gives_up_at_its_deadline(bus):
    with pytest.raises(TimeoutError):
        await bus.join(0.01)


async def test_what_was_put_before_a_start_that_failed_is_delivered_by_the_next(bus):
    destination = Destination()
    Putter(bus).put_nowait(body=1)
    bus.start_failed(ProfileError("wrong"))

    task = await start(bus, entry(destination))
    await bus.stop(5)
    await task

    assert destination.received == [b"1"]


async def test_a_cancelled_listener_stops_the_bus_and_closes_its_connections():
    destination = Destination()
    async with running(entry(destination)) as bus:
        await bus.putter.put(body=1, confirm="delivered")
        bus.task.cancel()
        await asyncio.wait([bus.task], timeout=HANG)

        assert bus.bus.state == "stopped"
        assert destination.calls["close"] == 1


async def test_stop_leaves_no_task_behind():
    before = asyncio.all_tasks()
    async with running(entry(Destination(publish=["hang"])), entry(Broken(lambda: TransientError("x")), "b")) as bus:
        bus.putter.put_nowait(body=1)
        await asyncio.sleep(0)
        await bus.stop(0.1)
        await asyncio.wait([bus.task], timeout=HANG)

    assert asyncio.all_tasks() == before


async def test_the_account_of_a_stop_says_what_remains_and_what_was_never_taken():
    async with running(entry(Broken(lambda: TransientError("down")))) as bus:
        for n in range(5):
            await bus.putter.put(body=n)
        account = await bus.stop(0.1)

    assert (account.put, account.accepted, account.remaining, account.queued) == (5, 5, 5, 0)
    assert account.lanes[0].error == "down"
    assert account.balanced
    assert not account.complete


async def test_stop_without_time_leaves_the_queue_and_says_so():
    async with running(entry()) as bus:
        for n in range(5):
            bus.putter.put_nowait(body=n)
        account = await bus.bus.stop(0)

    assert account.put == 5
    assert account.delivered + account.remaining + account.queued == 5


async def test_another_loop_can_stop_the_bus():
    async with running(entry()) as bus:
        await bus.putter.put(body=1)
        account = await asyncio.wait_for(asyncio.to_thread(lambda: asyncio.run(bus.bus.stop(5))), HANG)

    assert account.delivered == 1


async def test_no_match_is_counted_and_one_line_says_so(caplog):
    caplog.set_level(logging.DEBUG)
    async with running(entry(name="internal:orders", matches=lambda profile: False)) as bus:
        for _ in range(5):
            receipt = await bus.putter.put(body=1, profile="order")
        bus.putter.put_nowait(body=1, profile="other")
        account = await bus.stop()

    assert receipt.destinations == ()
    assert not receipt.matched
    assert (account.unmatched, account.put, account.accepted) == (6, 6, 0)
    # The first name is a warning, and each further one, once, is for those who look for it
    first, second = [record for record in caplog.records if "no profile matches" in record.message]
    assert (first.levelname, second.levelname) == ("WARNING", "DEBUG")
    assert "'order'" in first.message
    assert "internal:orders" in first.message
    assert "'other'" in second.message
    assert [record.levelname for record in caplog.records if "the bus is stopped" in record.message] == ["INFO"]


async def test_without_any_profile_events_go_nowhere_without_a_warning(caplog):
    caplog.set_level(logging.INFO)
    async with running() as bus:
        for name in ("idem-run", "idem-state", "idem-low"):
            await bus.putter.put(body=1, profile=name)
        await bus.stop()

    assert [record.levelname for record in caplog.records if "no profile matches" in record.message] == ["INFO"]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_names_that_matched_nothing_are_remembered_within_a_bound():
    async with running() as bus:
        for n in range(NAMES_REMEMBERED + 50):
            bus.putter.put_nowait(profile=str(n))
        await until(lambda: bus.bus.account().unmatched == NAMES_REMEMBERED + 50)

        assert len(bus.bus.admission._unmatched_names) <= NAMES_REMEMBERED


async def test_the_listener_shares_its_loop_with_others_under_load():
    turns = 0
    async with running(entry()) as bus:
        for n in range(20_000):
            bus.putter.put_nowait(body=n)
        while bus.bus.intake.items:
            await asyncio.sleep(0)
            turns += 1

    assert turns > 5


def test_a_stop_from_another_loop_does_not_wait_for_ever_for_a_blocked_one(monkeypatch):
    monkeypatch.setattr(bus_module, "LOOP_GRACE", 0.1)
    bus = Bus(lambda failure: None)
    running, gate = threading.Event(), threading.Event()

    async def listen():
        task = await start(bus)
        running.set()
        gate.wait(HANG)  # the loop is blocked: it answers nobody
        await task

    thread = threading.Thread(target=lambda: asyncio.run(listen()), daemon=True)
    thread.start()
    assert running.wait(HANG)
    try:
        with pytest.raises(LifecycleError, match="is it blocked"):
            asyncio.run(bus.stop(0.1))
    finally:
        gate.set()
        asyncio.run_coroutine_threadsafe(bus.stop(1.0), bus.loop).result(HANG)
        thread.join(HANG)


async def test_a_turn_of_the_listener_ends_after_half_a_megabyte():
    async with running(entry()) as bus:
        for _ in range(1000):
            bus.putter.put_nowait(body="x" * 10_000)
        bus.bus.admit_queued()
        assert 50 <= 1000 - bus.bus.intake.qsize() <= 200


async def test_a_turn_of_the_listener_ends_after_a_thousand_events():
    async with running(entry()) as bus:
        for number in range(3000):
            bus.putter.put_nowait(body=number)
        bus.bus.admit_queued()
        assert bus.bus.intake.qsize() == 2000

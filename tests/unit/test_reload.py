"""engine/sending/reload.py: a running bus gets other profiles; no event is lost, repeated or out of order for it."""

import asyncio

import pytest

from evbus_like.engine.errors import DestinationRefused, LifecycleError, PutError, TransientError
from evbus_like.engine.outbox import Outbox
from evbus_like.engine.sending import health
from evbus_like.engine.sending.reload import reload
from tests.unit.fakes import HANG, Destination, entry, running, until

FOR_EVER = {"retry_base": 3600.0, "retry_cap": 3600.0, "refused_cap": 3600.0}


async def change(run, *entries, timeout=HANG, outbox=None):
    """Reload a running bus of `fakes.running`; a hang is stopped."""
    for each in entries:
        each.lane.report = run.failures.append
    async with asyncio.timeout(2 * HANG):
        return await reload(run.bus, entries, timeout, outbox)


async def put(run, first, last, profile="p"):
    for number in range(first, last):
        await run.putter.put("k", number, profile)


def numbers(destination):
    return [int(body) for body in destination.received]


@pytest.fixture
def outbox(tmp_path):
    return lambda: Outbox(tmp_path / "outbox.sqlite")


async def test_a_lane_that_is_refused_goes_on_at_once_with_the_new_destination(monkeypatch):
    monkeypatch.setattr(health, "REFUSED_BASE", 1e6)
    old = Destination(open=[DestinationRefused("the old password")])
    new = Destination()
    async with running(entry(old, **FOR_EVER)) as run:
        await put(run, 0, 10)
        await until(lambda: run.lanes[0].state == "refused")

        reloaded = await change(run, entry(new))

        assert reloaded.changed == ("fake:default",)
        await until(lambda: len(new.received) == 10)
        account = await run.stop()
    assert numbers(new) == list(range(10))
    assert (old.sent, account.complete) == ([], True)


async def test_a_batch_in_flight_is_confirmed_before_its_connection_is_closed():
    confirm = asyncio.Event()

    class Slow(Destination):
        async def publish(self, events):
            await confirm.wait()
            assert self.is_open
            return await super().publish(events)

    old, new = Slow(), Destination()
    async with running(entry(old, batch_events=3)) as run:
        await put(run, 0, 10)
        await until(lambda: run.lanes[0].in_flight == 3)
        changing = asyncio.create_task(change(run, entry(new)))
        await asyncio.sleep(0)
        await put(run, 10, 12)
        assert not changing.done()
        confirm.set()

        await changing

        account = await run.stop()
    assert (numbers(old), numbers(new)) == ([0, 1, 2], list(range(3, 12)))
    assert (old.calls["close"], account.complete, account.retries) == (1, True, 0)


async def test_a_batch_without_an_answer_is_sent_again_to_the_new_destination():
    old, new = Destination(publish=["hang"]), Destination()
    async with running(entry(old, timeout=0.05, **FOR_EVER)) as run:
        await put(run, 0, 3)
        await until(lambda: run.lanes[0].in_flight)

        await change(run, entry(new))

        await until(lambda: new.received)
        account = await run.stop()
    assert numbers(new) == [0, 1, 2]
    assert (account.complete, account.retries) == (True, 3)


async def test_a_lane_that_is_blocked_goes_on_with_the_new_destination_and_hears_no_more_of_the_old():
    old, new = Destination(publish=["hang"]), Destination()
    async with running(entry(old, timeout=0.05, **FOR_EVER)) as run:
        await put(run, 0, 3)
        await until(lambda: run.lanes[0].in_flight)
        old.on_blocked("memory alarm")

        await change(run, entry(new))

        old.on_blocked("disk alarm")
        await until(lambda: new.received)
        await put(run, 3, 5)
        account = await run.stop()
    assert numbers(new) == [0, 1, 2, 3, 4]
    assert account.complete


async def test_a_lane_that_waits_for_the_end_of_a_block_goes_on_at_once_with_the_new_destination():
    old, new = Destination(), Destination()
    async with running(entry(old)) as run:
        await until(lambda: run.lanes[0].state == "open")
        old.on_blocked("memory alarm")
        await put(run, 0, 3)
        await asyncio.sleep(0)

        await change(run, entry(new))

        await until(lambda: new.received)
    assert (numbers(old), numbers(new)) == ([], [0, 1, 2])


async def test_the_tries_of_an_event_are_counted_anew_at_the_new_destination():
    new = Destination(open=[TransientError("once")])
    async with running(entry(Destination(publish=[TransientError("once")]), attempts=2, **FOR_EVER)) as run:
        await put(run, 0, 1)
        await until(lambda: run.lanes[0].state == "retrying")

        await change(run, entry(new, attempts=2))

        await until(lambda: new.received)
    assert run.failures == []


async def test_a_reload_does_not_wait_longer_than_its_timeout_for_a_batch_in_flight():
    old, new = Destination(publish=["hang"]), Destination()
    async with running(entry(old, timeout=0.3)) as run:
        await put(run, 0, 1)
        await until(lambda: run.lanes[0].in_flight)

        await change(run, entry(new), timeout=0.01)

        assert run.lanes[0].in_flight == 1
        await until(lambda: new.received)


async def test_a_lane_that_is_the_same_is_not_touched():
    same = Destination()
    async with running(entry(same, name="a"), entry(name="b")) as run:
        await put(run, 0, 1)
        await until(lambda: same.received)

        reloaded = await change(run, run.bus.admission.router.entries[0], entry(name="b"))

        assert (reloaded.unchanged, reloaded.changed) == (("a",), ("b",))
        await put(run, 1, 2)
        await run.stop()
    assert numbers(same) == [0, 1]
    assert same.calls["open"] == 1


async def test_a_new_profile_gets_a_lane_and_events_find_it():
    new = Destination()
    async with running(entry(name="a", matches="x".__eq__)) as run:
        await put(run, 0, 1, "y")

        reloaded = await change(run, run.bus.admission.router.entries[0], entry(new, "b", "y".__eq__))

        assert reloaded.added == ("b",)
        await put(run, 1, 2, "y")
        account = await run.stop()
    assert numbers(new) == [1]
    assert account.unmatched == 1


async def test_a_removed_profile_sends_what_it_has_and_gets_no_more():
    going, staying = Destination(open=[TransientError("away")]), Destination()
    async with running(entry(going, "a"), entry(staying, "b")) as run:
        await put(run, 0, 5)

        reloaded = await change(run, run.bus.admission.router.entries[1])

        assert reloaded.removed == ("a",)
        await put(run, 5, 7)
        account = await run.stop()
    assert (numbers(going), numbers(staying)) == ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4, 5, 6])
    assert (going.is_open, account.complete, account.accepted) == (False, True, 12)


async def test_a_removed_profile_that_cannot_send_drops_what_only_it_has_and_counts_it():
    gone = Destination(open=[DestinationRefused("no")] * 1000)
    async with running(entry(gone, "a")) as run:
        receipt = asyncio.create_task(run.putter.put("k", 1, confirm="delivered"))
        await asyncio.sleep(0)
        await put(run, 0, 4)

        await change(run, timeout=1.0)

        with pytest.raises(PutError, match="the profile was removed first"):
            await asyncio.wait_for(receipt, HANG)
        account = await run.stop()
    assert (account.lanes[0].drops, account.dropped, account.remaining) == ({"removed": 5}, 5, 0)
    assert account.balanced


async def test_durable_events_of_a_removed_profile_stay_on_disk_and_are_sent_when_it_is_back(outbox):
    box = outbox()
    box.open()
    back = Destination()
    async with running(entry(Destination(open=[TransientError("away")] * 10**6), "a", durable=True), outbox=box) as run:
        await put(run, 0, 5)
        await change(run, timeout=0.1)
        account = run.bus.account()
        assert (account.spilled, account.remaining, account.balanced) == (5, 0, True)
        await put(run, 5, 6)

        reloaded = await change(run, entry(back, "a", durable=True))

        assert reloaded.added == ("a",)
        assert run.bus.account().spilled == 0
        await put(run, 6, 8)
        account = await run.stop()
    assert numbers(back) == [0, 1, 2, 3, 4, 6, 7]
    assert (len(account.lanes), account.accepted, account.delivered, account.unmatched) == (1, 7, 7, 1)
    assert account.balanced


async def test_what_a_removed_profile_has_delivered_is_struck_off_the_outbox_first(outbox):
    box = outbox()
    box.open()
    async with running(entry(name="a", durable=True), outbox=box) as run:
        await put(run, 0, 50)

        await change(run)

        assert (box.counts().pending, run.bus.account().delivered) == ({}, 50)


async def test_an_event_on_its_way_to_the_disk_is_sent_by_the_lane_that_is_removed(outbox):
    box = outbox()
    box.open()
    async with running(entry(name="a", durable=True), outbox=box) as run:
        putting = asyncio.create_task(run.putter.put("k", 1))
        await asyncio.sleep(0)

        await change(run)

        assert (await putting).destinations == ("a",)
        assert run.bus.account().delivered == 1


async def test_an_event_that_is_being_stored_while_its_profile_ceases_to_be_durable_is_not_overtaken(outbox):
    box, new = outbox(), Destination()
    box.open()
    async with running(entry(durable=True), outbox=box) as run:
        putting = asyncio.create_task(run.putter.put("k", 0))
        await asyncio.sleep(0)
        changing = asyncio.create_task(change(run, entry(new)))
        await asyncio.sleep(0)

        await putting
        await put(run, 1, 3)

        await changing
        assert (await run.stop()).complete
    assert numbers(new) == [0, 1, 2]


async def test_an_outbox_that_comes_with_a_reload_sends_what_an_earlier_run_left_there(outbox):
    box = outbox()
    box.open()
    async with running(entry(Destination(open=[TransientError("")] * 10**6), "a", durable=True), outbox=box) as run:
        await put(run, 0, 3)
        await run.stop(0.1)
    box.open()
    new, other = Destination(), Destination()
    async with running(entry(other, "b")) as run:
        await change(run, run.bus.admission.router.entries[0], entry(new, "a", durable=True), outbox=box)
        await put(run, 3, 5)
        account = await run.stop()
    assert (numbers(new), numbers(other)) == ([0, 1, 2, 3, 4], [3, 4])
    assert account.complete or account.balanced


async def test_a_put_that_waits_for_room_in_a_removed_lane_finds_its_new_route():
    new = Destination()
    full = entry(Destination(open=["hang"]), "a", max_events=1, timeout=0.1)
    async with running(full) as run:
        await put(run, 0, 1)
        waiting = asyncio.create_task(run.putter.put("k", 1))
        await asyncio.sleep(0.01)
        assert not waiting.done()

        await change(run, entry(new, "b"), timeout=0.05)

        assert (await asyncio.wait_for(waiting, HANG)).destinations == ("b",)


async def test_a_put_that_waited_for_room_is_stored_where_its_new_route_says_so(outbox):
    box = outbox()
    box.open()
    away = Destination(open=[TransientError("away")] * 10**6)
    async with running(entry(Destination(open=["hang"]), max_events=1, timeout=0.1)) as run:
        await put(run, 0, 1)

        async def stored():
            await run.putter.put("k", 1)
            return box.counts().pending

        storing = asyncio.create_task(stored())
        await asyncio.sleep(0.01)

        await change(run, entry(away, max_events=1, durable=True), outbox=box)

        assert await asyncio.wait_for(storing, HANG) == {"fake:default": 1}


async def test_more_room_lets_those_in_who_wait_for_it():
    async with running(entry(Destination(open=["hang"]), max_events=1)) as run:
        await put(run, 0, 1)
        waiting = asyncio.create_task(run.putter.put("k", 1))
        await asyncio.sleep(0.01)

        changing = asyncio.create_task(change(run, entry(max_events=2), timeout=0.01))

        assert (await asyncio.wait_for(waiting, HANG)).matched
        await changing


async def test_a_stop_in_the_middle_of_a_reload_ends_both_and_the_account_adds_up():
    hanging, refusing = Destination(publish=["hang"]), Destination(open=[DestinationRefused("no")] * 1000)
    async with running(entry(hanging, "a"), entry(refusing, "b", **FOR_EVER)) as run:
        await put(run, 0, 3)
        await until(lambda: run.lanes[0].in_flight)
        changing = asyncio.create_task(change(run, entry(Destination(), "a")))
        await asyncio.sleep(0)

        account = await run.stop(0.5)

        await changing
    assert account.balanced
    assert (account.remaining, account.delivered) == (6, 0)


async def test_a_stop_gives_a_removed_lane_its_own_time():
    gate = asyncio.Event()

    class Gated(Destination):
        async def open(self):
            await gate.wait()
            await super().open()

    async with running(entry(Gated(), "a")) as run:
        await put(run, 0, 3)
        changing = asyncio.create_task(change(run, timeout=0.01))
        await asyncio.sleep(0)
        stopping = asyncio.create_task(run.stop())
        await changing

        gate.set()

        assert (await stopping).complete


async def test_only_a_running_bus_is_reloaded():
    async with running(entry()) as run:
        with pytest.raises(LifecycleError, match="event loop of the listener"):
            await asyncio.to_thread(asyncio.run, reload(run.bus, [], 1.0))
        await run.stop()
        with pytest.raises(LifecycleError, match="while the bus is stopped"):
            await reload(run.bus, [], 1.0)

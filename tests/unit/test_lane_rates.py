"""The rate of a profile: its lane sends no more events than that, and waiting for it is no failure."""

import asyncio
from time import monotonic

import pytest

from evbus_like.engine import options
from evbus_like.engine.errors import DestinationRefused, PoisonEvent, TransientError
from evbus_like.engine.rate import OwnSlot
from evbus_like.engine.sending import health
from evbus_like.engine.sending.reload import reload
from tests.unit.fakes import Destination, entry, running, until
from tests.unit.test_publish_now import Immediate

AT_ONCE = 10  # events, of 50 ms at 200/s


@pytest.fixture(autouse=True)
def quick_refusals(monkeypatch):
    monkeypatch.setattr(health, "REFUSED_BASE", 0.0001)


class Timed(Destination):
    """A destination that notes when each event came."""

    def __init__(self, **scripts):
        super().__init__(**scripts)
        self.times = []

    async def publish(self, events):
        self.times += [monotonic()] * len(events)
        return await super().publish(events)


def is_at_most(times, rate, at_once=AT_ONCE):
    """Whether any events came as far apart as the rate says, but for those of three batches, if the loop is late."""
    return all(
        times[last] - times[first] >= (last - first - 3 * at_once) / rate - 0.001
        for first in range(len(times))
        for last in range(first, len(times))
    )


async def put(bus, count):
    for number in range(count):
        bus.putter.put_nowait(body=number)


def lane_tasks():
    return [task for task in asyncio.all_tasks() if task.get_name().startswith("evbus_like lane")]


async def test_a_destination_gets_no_more_events_than_the_rate_says_and_all_of_them_in_order():
    destination = Timed()
    async with running(entry(destination, rate="200/s")) as bus:
        await put(bus, 100)
        await until(lambda: bus.lanes[0].limited)
        status = bus.lanes[0].status()
        await until(lambda: len(destination.received) == 100)
        account = await bus.stop()

    assert is_at_most(destination.times, 200)
    assert max(map(len, destination.batches)) <= AT_ONCE
    assert destination.received == [b"%d" % number for number in range(100)]
    assert (status["state"], status["trouble"]) == ("open", "")
    assert (account.retries, account.complete) == (0, True)


async def test_a_destination_that_needs_no_connection_is_held_to_its_rate_too():
    destination = Immediate()
    async with running(entry(destination, rate="200/s")) as bus:
        begun = monotonic()
        await put(bus, 50)
        await until(lambda: len(destination.received) == 50)
        took = monotonic() - begun
        await put(bus, 5)
        account = await bus.stop()

    assert destination.at_once == 0
    assert took >= (50 - 3 * AT_ONCE) / 200
    assert account.delivered == 55


async def test_a_slow_rate_counts_each_event_and_one_goes_at_once():
    destination = Timed()
    async with running(entry(destination, rate="20/s")) as bus:
        await put(bus, 4)
        await until(lambda: len(destination.received) == 4)

    assert [len(batch) for batch in destination.batches] == [1] * 4
    assert destination.times[3] - destination.times[0] >= 1 / 20


async def test_a_stop_ends_at_its_deadline_whatever_the_rate_says():
    destination = Destination()
    async with running(entry(destination, rate="1/h")) as bus:
        await put(bus, 3)
        await until(lambda: bus.lanes[0].limited)
        async with asyncio.timeout(20):
            account = await bus.stop(0.05)

    assert (account.delivered, account.remaining, account.balanced) == (1, 2, True)
    assert lane_tasks() == []


async def test_a_pause_and_a_reload_do_not_wait_for_the_rate():
    destination, other = Destination(), Destination()
    slow = entry(destination, rate="1/h")
    async with running(slow) as bus:
        await put(bus, 3)
        await until(lambda: bus.lanes[0].limited)
        worker = bus.bus.workers[slow.lane]
        worker.pause("paused by an operator")
        await until(lambda: slow.lane.state == "paused")
        worker.pause("")
        await until(lambda: slow.lane.limited > 1)
        await reload(bus.bus, [entry(other)], 20)
        await until(lambda: len(other.received) == 2)

    assert len(destination.received) == 1


@pytest.mark.parametrize("trouble", [TransientError("lost"), DestinationRefused("no"), PoisonEvent("bad")])
async def test_what_is_sent_again_keeps_to_the_rate_and_nothing_is_lost(trouble):
    destination = Timed(publish=[None, trouble, trouble])
    async with running(entry(destination, rate="200/s", attempts=10)) as bus:
        await put(bus, 40)
        await until(lambda: not any(lane.queue for lane in bus.lanes) and bus.bus.intake.empty())
        account = await bus.stop()

    assert is_at_most(destination.times, 200)
    assert account.delivered + account.dead_lettered == 40
    assert sorted(set(destination.received)) == sorted(destination.received)


async def test_events_that_pass_by_one_that_is_refused_keep_to_the_rate(monkeypatch):
    def refuses_the_first(events):
        return [DestinationRefused("not this one") if event.body == b"0" else None for event in events]

    destination = Timed(publish=[refuses_the_first] * 400)
    async with running(entry(destination, rate="200/s", refused_cap=0.2, retry_cap=0.2)) as bus:
        await put(bus, 40)
        await until(lambda: len(destination.received) == 39)
        async with asyncio.timeout(20):
            await bus.stop(0.2)

    assert is_at_most(destination.times, 200)


async def test_lanes_with_one_slot_share_their_rate():
    slot, destinations = OwnSlot(), [Timed(), Timed()]
    entries = [entry(each, name, rate="200/s") for each, name in zip(destinations, ("a", "b"), strict=True)]
    for each in entries:
        each.lane.slot = slot
    async with running(*entries) as bus:
        await put(bus, 30)
        await until(lambda: all(len(each.received) == 30 for each in destinations))

    times = sorted(destinations[0].times + destinations[1].times)
    assert is_at_most(times, 200, at_once=2 * AT_ONCE)


async def test_a_lane_without_a_rate_never_waits():
    destination = Destination()
    async with running(entry(destination)) as bus:
        await put(bus, 500)
        await until(lambda: len(destination.received) == 500)
        assert bus.lanes[0].status()["limited"] == 0


@pytest.mark.parametrize("wrong", ["50", "0/s", "5/year", "fast"])
def test_what_is_no_rate_is_named_with_its_form(wrong):
    assert list(options.common_problems({"rate": wrong})) == [
        f'option rate must be a number of events in a time, such as "50/s", "1000/min" or "10/h", not {wrong!r}'
    ]


def test_a_number_is_no_rate():
    assert "option rate must be of type str, not int" in next(options.common_problems({"rate": 50}))

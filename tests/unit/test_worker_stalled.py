"""engine/sending/sender.py: events that wait for a part of their destination, and those of other parts."""

import json
from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from evbus_like.engine.errors import Stalled, TransientError
from evbus_like.engine.sending import sender
from tests.unit.fakes import Destination, entry, running, until

PARTS = 3


class Parted(Destination):
    """A destination of three parts, which a number's remainder chooses; a part that is away stalls its events."""

    def __init__(self, away=()):
        super().__init__()
        self.away = set(away)
        self.failing = 0  # publishes that fail as a whole

    async def publish(self, events):
        numbers = [json.loads(event.body) for event in events]
        self.batches.append([event.body for event in events])
        if self.failing:
            self.failing -= 1
            raise TransientError("t")
        outcomes = [Stalled("away") if number % PARTS in self.away else None for number in numbers]
        self.received += [number for number, outcome in zip(numbers, outcomes, strict=True) if outcome is None]
        return outcomes if any(outcomes) else None

    def of(self, part):
        return [number for number in self.received if number % PARTS == part]


async def test_other_parts_get_their_events_however_many_are_stalled_before_them():
    destination = Parted(away={0})
    async with running(entry(destination, batch_events=4)) as bus:
        for number in [*range(0, 90, PARTS), 1, 2, 4, 5]:
            bus.putter.put_nowait(body=number)
        await until(lambda: len(destination.received) == 4)
        assert destination.received == [1, 2, 4, 5]
        assert bus.lanes[0].status()["waiting"] == 30
        destination.away.clear()
        account = await bus.stop()
    assert destination.of(0) == list(range(0, 90, PARTS))
    assert (account.delivered, account.retries, account.complete) == (34, 0, True)


async def test_to_be_stalled_is_no_attempt():
    destination = Parted(away={0})
    async with running(entry(destination, attempts=1)) as bus:
        for number in range(6):
            bus.putter.put_nowait(body=number)
        await until(lambda: len(destination.batches) > 4)
        destination.away.clear()
        account = await bus.stop()
    assert (account.delivered, account.dead_lettered) == (6, 0)


async def test_newer_events_that_fail_beside_older_ones_have_attempts_of_their_own():
    destination = Parted(away={0})
    async with running(entry(destination, attempts=2)) as bus:
        bus.putter.put_nowait(body=0)
        await until(lambda: destination.batches)
        destination.failing = 1
        bus.putter.put_nowait(body=1)
        await until(lambda: len(destination.received) == 1)
        destination.away.clear()
        account = await bus.stop()
    assert (account.delivered, account.dead_lettered) == (2, 0)


async def test_the_deadline_of_retries_holds_for_stalled_events():
    destination = Parted(away={0})
    async with running(entry(destination, retry_deadline=0.05)) as bus:
        bus.putter.put_nowait(body=0)
        bus.putter.put_nowait(body=1)
        await until(lambda: bus.failures)
        assert destination.received == [1]


async def test_the_state_says_that_a_part_is_away_and_then_that_it_is_back(monkeypatch):
    monkeypatch.setattr(sender, "STALL_NOTED", 0.0)
    destination = Parted(away={0})
    async with running(entry(destination)) as bus:
        bus.putter.put_nowait(body=0)
        (lane,) = bus.lanes
        await until(lambda: lane.trouble == "retrying: away")
        destination.away.clear()
        await until(lambda: lane.state == "open")


@given(
    steps=st.lists(st.tuples(st.integers(0, 2**PARTS - 1), st.integers(0, 8), st.integers(0, 1)), max_size=6),
    batch=st.integers(1, 4),
    rules=st.sampled_from([{}, {"when_full": "drop_old", "max_events": 6}, {"attempts": 2}]),
)
async def test_whichever_parts_come_and_go_each_keeps_its_order(steps, batch, rules):
    destination, put = Parted(), 0
    async with running(entry(destination, batch_events=batch, **rules)) as bus:
        for away, count, failing in steps:
            destination.away = {part for part in range(PARTS) if away >> part & 1}
            destination.failing = failing
            for _ in range(count):
                bus.putter.put_nowait(body=put)
                put += 1
            seen = len(destination.batches)
            if bus.lanes[0].queue:
                await until(lambda seen=seen: len(destination.batches) > seen or not bus.lanes[0].queue)
            assert bus.bus.account().balanced
        destination.away.clear()
        account = await bus.stop()
    seen = defaultdict(list)
    for number in destination.received:
        seen[number % PARTS].append(number)
    assert all(numbers == sorted(set(numbers)) for numbers in seen.values())
    assert account.balanced
    assert account.delivered + account.dropped + account.dead_lettered == put
    assert len(destination.received) == account.delivered

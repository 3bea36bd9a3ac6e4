"""Events that are put for later: the outbox holds them until they are due."""

import asyncio
import math
import time
from datetime import UTC, datetime, timedelta

import pytest

from evbus_like.engine import put_later
from evbus_like.engine.errors import BadEvent, LifecycleError, PutTimeout, SerializeError, TransientError
from evbus_like.engine.outbox import Outbox
from evbus_like.engine.sending import scheduler
from evbus_like.engine.sending.serializer import Serializer
from tests.unit.fakes import Destination, dump_json, entry, running, until

DURABLE = {"durable": True}
HOUR = 3600.0


class Clock:
    """The clock of the machine, which a test sets."""

    def __init__(self):
        self.now = float(round(time.time()))

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(put_later, "time", clock)
    monkeypatch.setattr(scheduler, "time", clock)
    monkeypatch.setattr(scheduler, "LOOK_EVERY", 0.005)
    return clock


@pytest.fixture
def path(tmp_path):
    return tmp_path / "outbox.sqlite"


def opened(path, **options):
    outbox = Outbox(path, **options)
    outbox.open()
    return outbox


async def looks(clock, times=5):
    """Let the scheduler look at the clock some times."""
    seen = 0
    real = scheduler.time

    def look():
        nonlocal seen
        seen += 1
        return real()

    scheduler.time = look
    try:
        await until(lambda: seen >= times)
    finally:
        scheduler.time = real


async def test_an_event_is_sent_when_it_is_due_and_not_before(path, clock):
    destination = Destination()
    async with running(entry(destination, **DURABLE), outbox=opened(path)) as bus:
        receipt = await bus.putter.put("k", 1, headers={"n": 1}, key="x", delay=60)
        assert (receipt.destinations, receipt.due, receipt.schedule_id) == (
            ("fake:default",),
            clock.now + 60,
            receipt.id,
        )
        clock.now += 59.999
        await looks(clock)
        assert (destination.received, bus.bus.outbox.counts().scheduled) == ([], 1)
        clock.now += 0.001
        await until(lambda: destination.received)
        [event] = destination.events
        account = await bus.stop()
    assert (event.id, event.body, event.headers, event.key) == (receipt.id, b"1", {"n": 1}, "x")
    assert event.timestamp == clock.now, "how long it waits for its destination counts from here"
    assert (account.put, account.accepted, account.delivered, account.balanced) == (1, 1, 1, True)


async def test_events_are_sent_in_the_order_of_their_times(path, clock):
    destination = Destination()
    async with running(entry(destination, **DURABLE), outbox=opened(path)) as bus:
        for number in (3, 1, 2):
            await bus.putter.put("k", number, delay=number)
        clock.now += 10
        await until(lambda: len(destination.received) == 3)
    assert destination.received == [b"1", b"2", b"3"]


async def test_the_time_may_be_given_as_a_datetime_of_any_zone_also_to_dispatch(path, clock):
    destination = Destination()
    zone = datetime.fromtimestamp(clock.now, UTC).astimezone().tzinfo
    async with running(entry(destination, **DURABLE), outbox=opened(path)) as bus:
        receipt = await bus.putter.dispatch("orders", "unpaid", {}, at=datetime.fromtimestamp(clock.now + HOUR, zone))
        assert receipt.due == clock.now + HOUR
        clock.now += HOUR
        await until(lambda: destination.events)
    assert destination.events[0].headers == {"evbus-service": "orders"}


async def test_what_is_due_already_is_sent_at_once(path, clock):
    destination = Destination()
    async with running(entry(destination, **DURABLE), outbox=opened(path)) as bus:
        await bus.putter.put("k", 1, delay=0)
        await bus.putter.put("k", 2, at=datetime.fromtimestamp(clock.now - HOUR, UTC))
        await until(lambda: len(destination.received) == 2)


async def test_an_event_that_is_cancelled_is_never_sent_and_its_room_is_free_again(path, clock):
    destination = Destination()
    async with running(entry(destination, **DURABLE), outbox=opened(path)) as bus:
        first = await bus.putter.put("k", 1, delay=60)
        second = await bus.putter.put("k", 2, delay=60)
        assert await bus.putter.cancel(first.schedule_id) is True
        assert await bus.putter.cancel(first.schedule_id) is False
        clock.now += 60
        await until(lambda: destination.received)
        assert await bus.putter.cancel(second.schedule_id) is False, "it was sent"
        await bus.bus.outbox.flush()
        await until(lambda: bus.bus.outbox.counts().bytes == 0)
    assert destination.received == [b"2"]


async def test_a_stop_keeps_what_is_not_due_and_the_next_start_sends_it_the_overdue_at_once(path, clock):
    destination = Destination()
    async with running(entry(destination, **DURABLE), outbox=opened(path)) as bus:
        ids = [(await bus.putter.put("k", number, delay=60 * number)).id for number in (1, 2)]
        account = await bus.stop()
    assert (destination.received, account.put, account.accepted) == ([], 2, 0)

    clock.now += 60
    async with running(entry(destination, **DURABLE), outbox=opened(path)) as bus:
        await until(lambda: destination.received)
        assert bus.bus.outbox.counts().scheduled == 1
        clock.now += 60
        await until(lambda: len(destination.received) == 2)
    assert [event.id for event in destination.events] == ids


async def test_at_debug_an_event_that_is_sent_later_has_a_line_at_its_put(path, clock, caplog):
    with caplog.at_level("DEBUG", "evbus_like.flow"):
        async with running(entry(Destination(), **DURABLE), outbox=opened(path)) as bus:
            receipt = await bus.putter.put("k", 1, delay=HOUR)
    assert caplog.messages.count(f"put k {receipt.id} for fake:default, later") == 1


async def test_a_clock_that_is_set_back_makes_events_wait_and_one_that_is_set_forward_sends_them(path, clock):
    destination = Destination()
    async with running(entry(destination, **DURABLE), outbox=opened(path)) as bus:
        await bus.putter.put("k", 1, delay=1)
        clock.now -= HOUR
        await looks(clock)
        clock.now += 2
        await looks(clock)
        assert destination.received == []
        clock.now += HOUR
        await until(lambda: destination.received)


async def test_the_body_is_serialized_at_the_put_and_may_be_changed_afterwards(path, clock):
    destination = Destination()
    async with running(entry(destination, **DURABLE), outbox=opened(path)) as bus:
        body = {"n": 1}
        await bus.putter.put("k", body, delay=1)
        body["n"] = 2
        with pytest.raises(SerializeError):
            await bus.putter.put("k", object(), delay=1)
        clock.now += 1
        await until(lambda: destination.received)
    assert destination.received == [b'{"n":1}']


async def test_an_event_gets_each_destination_in_its_own_form(path, clock):
    one, other = Destination(), Destination()
    quoted = Serializer("quoted", "text/quoted", lambda body: b'"' + dump_json(body) + b'"')
    entries = [entry(one, "fake:one", **DURABLE), entry(other, "fake:other", serializer=quoted)]
    async with running(*entries, outbox=opened(path)) as bus:
        await bus.putter.put("k", 1, delay=1)
        assert bus.bus.outbox.counts().scheduled == 1
        clock.now += 1
        await until(lambda: one.received and other.received)
    assert (one.received, other.received) == ([b"1"], [b'"1"'])
    assert other.events[0].content_type == "text/quoted"


async def test_an_expiry_counts_from_the_due_time_and_that_of_a_profile_too(path, clock):
    one, other = Destination(), Destination()
    entries = [entry(one, "fake:one", **DURABLE), entry(other, "fake:other", expires=500, priority=3)]
    async with running(*entries, outbox=opened(path)) as bus:
        await bus.putter.put("k", 1, delay=600, expires=100)
        await bus.putter.put("k", 2, delay=600)
        due = clock.now = clock.now + 600
        await until(lambda: len(one.events) == len(other.events) == 2)
    given, own = {"evbus-expires": round((due + 100) * 1000)}, {"evbus-expires": round((due + 500) * 1000)}
    assert [event.headers for event in one.events] == [given, None]
    assert [event.headers for event in other.events] == [{**given, "evbus-priority": 3}, {**own, "evbus-priority": 3}]


async def test_the_profiles_are_those_that_match_when_it_is_due(path, clock):
    one, other = Destination(), Destination()
    async with running(entry(one, "fake:one", **DURABLE), outbox=opened(path)) as bus:
        await bus.putter.put("k", 1, delay=60)
    clock.now += 60
    async with running(entry(other, "fake:other"), outbox=opened(path)) as bus:
        await until(lambda: other.received)
    assert one.received == []


async def test_an_event_that_no_profile_matches_any_more_waits_for_its_destination(path, clock, caplog):
    one = Destination()
    async with running(entry(one, "fake:one", **DURABLE), outbox=opened(path)) as bus:
        await bus.putter.put("k", 1, delay=60)
    clock.now += 60
    async with running(entry(matches=lambda profile: False, **DURABLE), outbox=opened(path)) as bus:
        await until(lambda: bus.bus.outbox.counts().pending == {"fake:one": 1})
    assert "no profile matches 'default' any more: its scheduled events wait in the outbox for fake:one" in caplog.text
    async with running(entry(one, "fake:one", **DURABLE), outbox=opened(path)) as bus:
        await until(lambda: one.received)


async def test_an_event_that_no_profile_matches_at_its_put_goes_nowhere_and_is_counted(path, clock):
    async with running(entry(matches=lambda profile: False, **DURABLE), outbox=opened(path)) as bus:
        receipt = await bus.putter.put("k", 1, delay=60)
        assert (receipt.matched, bus.bus.outbox.counts().scheduled, bus.bus.account().unmatched) == (False, 0, 1)


async def test_scheduled_events_count_against_the_size_of_the_outbox(path, clock):
    destination = Destination()
    async with running(entry(destination, **DURABLE), outbox=opened(path, max_bytes=1500), timeout=0.1) as bus:
        first = await bus.putter.put("k", "x" * 1000, delay=60)
        with pytest.raises(PutTimeout, match="had no room, or did not answer"):
            await bus.putter.put("k", "y" * 1000, delay=60)
        waiting = asyncio.create_task(bus.putter.put("k", "z" * 1000, delay=60, timeout=30))
        await asyncio.sleep(0)
        await bus.putter.cancel(first.schedule_id)
        await waiting
        assert bus.bus.outbox.counts().scheduled == 1


async def test_a_lane_of_memory_that_is_full_gets_it_when_it_has_room(path, clock):
    destination = Destination(open=[TransientError("away")] * 3)
    async with running(entry(destination, max_events=1), outbox=opened(path)) as bus:
        for number in range(5):
            await bus.putter.put("k", number, delay=1)
        clock.now += 1
        await until(lambda: len(destination.received) == 5)
        account = await bus.stop()
    assert (account.delivered, account.balanced) == (5, True)
    assert destination.received == [b"%d" % number for number in range(5)]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"delay": -1}, "delay must be a number of seconds from 0"),
        ({"delay": math.nan}, "delay must be a number of seconds"),
        ({"delay": math.inf}, "delay must be a number of seconds"),
        ({"delay": 1e12}, "ten years"),
        ({"delay": True}, "delay must be a number of seconds"),
        ({"delay": "5"}, "delay must be a number of seconds"),
        ({"delay": timedelta(seconds=5)}, "delay must be a number of seconds"),
        ({"at": datetime(2030, 1, 1)}, "at must be a datetime with a time zone"),
        ({"at": 1_800_000_000}, "at must be a datetime with a time zone"),
        ({"at": datetime(2999, 1, 1, tzinfo=UTC)}, "at must be at most ten years from now"),
        ({"delay": 1, "at": datetime.now(UTC)}, "a delay or an at, not both"),
        ({"delay": 1, "confirm": "delivered"}, "confirm='delivered' cannot be had"),
        ({"delay": 1, "confirm": "queued"}, "confirm='queued' cannot be had"),
        ({"delay": 1, "headers": {"": 1}}, "header names"),
    ],
)
async def test_wrong_values_are_refused_and_named(path, given, says):
    async with running(entry(**DURABLE), outbox=opened(path)) as bus:
        with pytest.raises(BadEvent, match=says):
            await bus.putter.put("k", 1, **given)
        assert bus.bus.outbox.counts().scheduled == 0


async def test_without_an_outbox_the_error_says_what_to_do():
    async with running(entry()) as bus:
        with pytest.raises(LifecycleError, match=r"needs an outbox.*`outbox: always`.*EVBUS_OUTBOX"):
            await bus.putter.put("k", 1, delay=1)
        assert await bus.putter.cancel("x") is False
        with pytest.raises(BadEvent, match="schedule_id must be"):
            await bus.putter.cancel(7)
    with pytest.raises(LifecycleError, match="cancel needs a running bus"):
        await bus.putter.cancel("x")


async def test_a_put_from_another_thread_and_loop_is_scheduled_and_cancelled_too(path, clock):
    async with running(entry(**DURABLE), outbox=opened(path)) as bus:

        async def there():
            receipt = await bus.putter.put("k", 1, delay=60)
            return await bus.putter.cancel(receipt.schedule_id)

        assert await asyncio.to_thread(asyncio.run, there()) is True


async def test_a_thousand_events_that_are_due_together_are_all_sent_once_and_in_order(path, clock):
    destination = Destination()
    async with running(entry(destination, **DURABLE), outbox=opened(path)) as bus:
        async with asyncio.TaskGroup() as group:
            for number in range(1200):
                group.create_task(bus.putter.put("k", number, delay=60))
        clock.now += 60
        await until(lambda: len(destination.received) >= 1200)
        account = await bus.stop()
    assert destination.received == [b"%d" % number for number in range(1200)]
    assert (account.accepted, account.delivered, account.balanced) == (1200, 1200, True)

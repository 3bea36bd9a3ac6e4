"""The options `expires` and `priority` of a put, and what lanes, workers and handlers make of them."""

import asyncio
import json
import math
from time import time
from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from evbus_like import handlers as evbus
from evbus_like.engine import expiry
from evbus_like.engine.bus import Bus
from evbus_like.engine.errors import (
    BadEvent,
    BatchRejected,
    ConnectionLost,
    DestinationRefused,
    Expired,
    NotDelivered,
    PoisonEvent,
    Stalled,
    TransientError,
)
from evbus_like.engine.event import Event
from evbus_like.engine.expiry import EXPIRES, PRIORITY
from evbus_like.engine.handling import Handling
from evbus_like.engine.outbox import Outbox
from evbus_like.engine.put import Putter
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.sending import lane as engine_lane
from tests.unit.fakes import HANG, Destination, entry, running, until
from tests.unit.sources import Log, Source, consuming

LATE = 1  # a moment long ago, in milliseconds
LATER = 2**52


def numbers(destination):
    return [json.loads(body) for body in destination.received]


@pytest.fixture
def clock(monkeypatch):
    """The wall clock as lanes see it: seconds to add."""
    ahead = [0.0]
    monkeypatch.setattr(engine_lane, "time", lambda: time() + ahead[0])
    return ahead


async def done(put, **options):
    made = put("orders", "placed", {}, **options)
    return await made if asyncio.iscoroutine(made) else made


# ---- values


@pytest.mark.parametrize("value", [0, -1, 0.0001, math.nan, math.inf, True, "30", 31_536_001])
@pytest.mark.parametrize("put", ["put", "put_nowait", "dispatch", "dispatch_nowait"])
async def test_an_expiry_that_is_no_number_of_seconds_is_named(put, value):
    async with running(entry()) as bus:
        with pytest.raises(BadEvent, match=r"expires must be seconds, from 0\.001 to 31536000"):
            await done(getattr(bus.putter, put), expires=value)
        assert bus.bus.account().put == 0


@pytest.mark.parametrize("value", [-1, 256, 1.0, True, "5", 2**70])
@pytest.mark.parametrize("put", ["put", "put_nowait", "dispatch", "dispatch_nowait"])
async def test_a_priority_that_is_none_is_named(put, value):
    async with running(entry(takes_priority=True)) as bus:
        with pytest.raises(BadEvent, match="priority must be a whole number from 0 to 255"):
            await done(getattr(bus.putter, put), priority=value)


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({EXPIRES: "soon"}, "header 'evbus-expires' is the moment of an expiry, in whole milliseconds since 1970"),
        ({EXPIRES: 0}, "say expires=seconds"),
        ({EXPIRES: True}, "say expires=seconds"),
        ({EXPIRES: 1.5}, "say expires=seconds"),
        ({PRIORITY: "9"}, "header 'evbus-priority' must be a whole number from 0 to 255, not '9'"),
    ],
)
async def test_headers_of_these_names_that_the_caller_sets_are_checked(headers, message):
    async with running(entry(takes_priority=True)) as bus:
        with pytest.raises(BadEvent, match=message):
            await bus.putter.put("k", {}, headers=headers)
        with pytest.raises(BadEvent, match=message):
            bus.putter.put_nowait("k", {}, headers=headers)


async def test_headers_that_are_no_mapping_are_named_also_with_an_expiry():
    async with running(entry()) as bus:
        with pytest.raises(BadEvent, match="headers must be a mapping"):
            await bus.putter.put("k", {}, headers=[("a", 1)], expires=1)


@pytest.mark.parametrize("value", ["", "soon", b"\xff", "9" * 17, "-5", "٣", True, None, -1, 1.5e300, math.nan, [], 0])
def test_what_a_stranger_sends_as_a_moment_and_is_none_expires_nothing(value):
    assert not expiry.expired({EXPIRES: value}, time())


@pytest.mark.parametrize("value", [LATE, str(LATE), str(LATE).encode(), float(LATE)])
def test_a_moment_may_come_as_a_number_or_as_text(value):
    assert expiry.expired({EXPIRES: value}, time())
    assert not expiry.expired({EXPIRES: type(value)(LATER) if not isinstance(value, bytes) else b"%d" % LATER}, time())


# ---- headers


async def test_the_moment_and_the_priority_are_headers_beside_the_callers_own(clock):
    destination, headers = Destination(), {"shop": "north", EXPIRES: LATER}
    async with running(entry(destination, takes_priority=True)) as bus:
        before = time()
        await bus.putter.put("k", 1, headers=headers, expires=30, priority=7)
        bus.putter.put_nowait("k", 2, headers=headers)
        bus.putter.put_nowait("k", 3, priority=0)
        await until(lambda: len(destination.events) == 3)
    first, second, third = destination.events
    assert before + 30 <= first.headers[EXPIRES] / 1000 + 0.001 <= time() + 30.002
    assert first.headers == {"shop": "north", EXPIRES: first.headers[EXPIRES], PRIORITY: 7}
    assert second.headers == headers == {"shop": "north", EXPIRES: LATER}
    assert third.headers == {PRIORITY: 0}


async def test_a_destination_without_priorities_is_named_by_the_put():
    async with running(entry(name="kafka:logs"), entry(name="amqp:orders", takes_priority=True)) as bus:
        with pytest.raises(BadEvent, match="kafka:logs has no priorities"):
            await bus.putter.put("k", {}, priority=1)
        with pytest.raises(BadEvent, match="kafka:logs has no priorities"):
            bus.putter.put_nowait("k", {}, headers={PRIORITY: 1})


# ---- lanes


async def test_an_event_that_expires_while_its_destination_is_away_is_not_sent_but_counted_and_its_receipt_says_so():
    destination = Destination(open=[TransientError("away")] * 1000)
    async with running(entry(destination, retry_cap=0.05)) as bus:
        with pytest.raises(NotDelivered, match="it expired before fake:default could send it") as refused:
            await bus.putter.put("k", 1, expires=0.05, confirm="delivered", timeout=HANG)
        outcome = refused.value.receipt.outcomes["fake:default"]
        assert isinstance(outcome, Expired)
        await bus.putter.put("k", 2)
        destination.script["open"].clear()
        await until(lambda: destination.received)
        status, account = bus.lanes[0].status(), await bus.stop()
    assert numbers(destination) == [2]
    assert status["expired"] == 1
    assert (account.accepted, account.delivered, account.expired, account.remaining) == (2, 1, 1, 0)
    assert account.balanced
    assert "expired 1" in str(account)


async def test_expired_events_among_others_leave_the_order_and_free_their_room(clock):
    destination = Destination(publish=["hang"])
    async with running(entry(destination, max_events=9, batch_events=3, timeout=0.2)) as bus:
        for number in range(9):
            bus.putter.put_nowait("k", number, expires=10 if number % 3 else None)
        await until(lambda: destination.calls["publish"] == 1)
        clock[0] = 20.0
        await until(lambda: len(destination.received) == 3)
        assert numbers(destination) == [0, 3, 6]
        lane = bus.lanes[0]
        assert (lane.bytes, len(lane.queue), lane.full) == (0, 0, False)
        account = await bus.stop()
    assert (account.expired, account.balanced) == (6, True)


async def test_a_stop_waits_for_nothing_when_all_that_is_left_has_expired(clock):
    destination = Destination(publish=["hang"])
    async with running(entry(destination, timeout=0.1)) as bus:
        bus.putter.put_nowait("k", 1, expires=10)
        await until(lambda: destination.calls["publish"] == 1)
        clock[0] = 20.0
        account = await bus.stop(HANG)
    assert (account.expired, account.delivered, account.remaining) == (1, 0, 0)


async def test_events_that_were_refused_before_they_expired_leave_no_attempts_to_those_behind_them(clock):
    destination = Destination(publish=[[TransientError("busy")] * 2])
    async with running(entry(destination, batch_events=2, attempts=2, retry_base=0.2, retry_cap=0.2)) as bus:
        bus.putter.put_nowait("k", 1, expires=10)
        bus.putter.put_nowait("k", 2, expires=10)
        await until(lambda: destination.calls["publish"] == 1)
        clock[0] = 20.0
        destination.script["publish"].append([TransientError("busy")])
        bus.putter.put_nowait("k", 3)
        await until(lambda: destination.received)
        account = await bus.stop()
    assert numbers(destination) == [3]  # its first attempt failed, and it has two
    assert (account.expired, account.dead_lettered) == (2, 0)


async def test_a_lane_looks_for_expired_events_only_once_it_has_got_one(monkeypatch):
    monkeypatch.setattr(expiry, "is_used", False)
    async with running(entry(name="a:a", matches=lambda name: name == "a"), entry(name="b:b")) as bus:
        first, second = bus.lanes
        await bus.putter.put("k", 1, "a", headers={"shop": "north"})
        assert (first.may_expire, second.may_expire) == (False, False)
        await bus.putter.put("k", 1, "b", expires=10)
        assert (first.may_expire, second.may_expire) == (False, True)


async def test_a_lane_looks_for_expired_events_of_the_outbox_if_it_has_got_one(monkeypatch):
    monkeypatch.setattr(expiry, "is_used", False)
    lane = entry().lane
    for headers, looks in ((None, False), ({"shop": "north"}, False), ({EXPIRES: LATER}, True)):
        event = Event("k", b"1", "default", headers)
        event.seq = 1
        lane.replayed(event)
        assert lane.may_expire is looks


async def test_an_event_that_was_put_before_the_start_expires_too():
    destination, bus = Destination(), Bus(lambda failure: None)
    putter = Putter(bus)
    putter.put_nowait("k", 1, expires=0.001)
    putter.put_nowait("k", 2)
    await asyncio.sleep(0.01)
    task = asyncio.create_task(bus.run([entry(destination)]))
    await bus.join(HANG)
    account = await bus.stop(5)
    await task
    assert numbers(destination) == [2]
    assert account.expired == 1


# ---- the outbox


async def test_an_event_in_the_outbox_expires_also_after_a_restart(tmp_path, monkeypatch):
    def opened():
        outbox = Outbox(tmp_path / "outbox.sqlite")
        outbox.open()
        return outbox

    away = Destination(open=[TransientError("away")] * 1000)
    async with running(entry(away, durable=True), outbox=opened()) as bus:
        await bus.putter.put("k", 1, expires=1.5)
        await bus.putter.put("k", 2, expires=1000)
        account = await bus.stop(0.01)
    assert (account.spilled, account.expired, account.balanced) == (2, 0, True)

    monkeypatch.setattr(expiry, "is_used", False)  # as in a new process
    await asyncio.sleep(1.55)
    destination, outbox = Destination(), opened()
    async with running(entry(destination, durable=True), outbox=outbox) as bus:
        await until(lambda: destination.received)
        await until(lambda: not outbox.counts().pending)
        account = await bus.stop()
    assert numbers(destination) == [2]
    assert (account.accepted, account.delivered, account.expired, account.balanced) == (2, 1, 1, True)


# ---- defaults of profiles


async def test_a_profile_says_when_its_events_expire_and_the_put_says_more(clock):
    destination, plain = Destination(), Destination()
    first = entry(destination, name="amqp:orders", expires=30.0, priority=3, takes_priority=True)
    async with running(first, entry(plain, name="amqp:all", takes_priority=True)) as bus:
        await bus.putter.put("k", 1, headers={"shop": "north"})
        await bus.putter.put("k", 2, expires=1000, priority=9)
        bus.putter.put_nowait("k", 3)
        await until(lambda: len(destination.events) == len(plain.events) == 3)
    one, two, three = destination.events
    assert one.headers == {"shop": "north", EXPIRES: round((one.timestamp + 30) * 1000), PRIORITY: 3}
    assert two.headers[EXPIRES] > (two.timestamp + 900) * 1000
    assert two.headers[PRIORITY] == 9
    assert three.headers.keys() == {EXPIRES, PRIORITY}
    assert [event.headers for event in plain.events] == [{"shop": "north"}, two.headers, None]


# ---- handlers


@pytest.mark.parametrize("options", [{}, {"batch": 2, "linger": 0.01}, {"breaker": evbus.Breaker()}])
async def test_an_event_that_has_expired_is_acknowledged_without_a_call_and_counted(options):
    source, seen = Source(), []

    async def call(given):
        seen.extend(given if isinstance(given, list) else [given])

    async with consuming(source, call, dedup=10, **options) as consumer:
        source.put(1, headers={EXPIRES: LATE})
        source.put(2, headers={EXPIRES: str(LATER)})
        source.put(3, headers={EXPIRES: "nonsense"})
        source.put(4)
        await until(lambda: len(source.settled) == 4)
        source.put(1)  # it was not handled: it is no repeat
        await until(lambda: len(source.settled) == 5)
    assert {verb for verb, _ in source.settled} == {"ack"}
    assert sorted(event.id for event in seen) == ["1", "2", "3", "4"]
    assert (consumer.stats.handled, consumer.stats.expired, consumer.stats.repeats) == (4, 1, 0)


async def test_an_event_that_expires_before_its_retry_is_not_handled_again():
    source, log = Source(), Log(lambda event: 1 / 0)
    async with consuming(source, log, backoff=0.2, max_backoff=0.2, attempts=1000) as consumer:
        source.put(1, headers={EXPIRES: round(time() * 1000) + 300})
        await until(lambda: source.settled)
    assert source.settled == [("ack", "1")]
    assert log.begun
    assert (consumer.stats.expired, consumer.stats.dead) == (1, 0)


async def test_what_a_handler_puts_does_not_inherit_the_expiry_of_its_event():
    event = ReceivedEvent(b"", "placed", "orders", "1", {EXPIRES: LATER, PRIORITY: 9})
    assert not expiry.CHECKED & Handling(event, "a.b").headers.keys()


# ---- any order of faults

FAULTS = (
    lambda: TransientError("away"),
    lambda: ConnectionLost("gone"),
    lambda: BatchRejected("refused"),
    lambda: PoisonEvent("bad"),
    lambda: DestinationRefused("forbidden"),
)


class Faulty(Destination):
    """Fails by its script, as a whole or for single events; at one of its publishes the clock jumps ahead."""

    def __init__(self, faults, jump, clock):
        super().__init__()
        self.faults, self.jump, self.clock = list(faults), jump, clock
        self.late = []  # what was sent though it had expired

    async def publish(self, events):
        numbers = [json.loads(event.body) for event in events]
        if self.clock[0]:
            self.late += [number for number in numbers if number % 2]
        self.batches.append(numbers)
        if len(self.batches) == self.jump:
            self.clock[0] = 20.0
        kind, of_all = self.faults.pop(0) if self.faults else (None, True)
        if kind is None:
            self.received += numbers
            return None
        if of_all:
            raise FAULTS[kind]()
        outcomes = [FAULTS[kind]() if number % 3 == 0 else None for number in numbers]
        self.received += [number for number, outcome in zip(numbers, outcomes, strict=True) if outcome is None]
        return outcomes


@given(
    faults=st.lists(st.tuples(st.integers(0, len(FAULTS) - 1), st.booleans()), max_size=12),
    jump=st.integers(1, 10),
    batch=st.integers(1, 6),
    rate=st.sampled_from([None, "2000/s"]),
)
@example(faults=[(1, False)] * 5, jump=2, batch=1, rate=None)  # one is sent out of turn
async def test_under_any_faults_no_expired_event_is_sent_and_each_event_is_counted_once(faults, jump, batch, rate):
    clock = [0.0]
    destination = Faulty(faults, jump, clock)
    with patch.object(engine_lane, "time", lambda: time() + clock[0]):
        async with running(entry(destination, batch_events=batch, rate=rate)) as bus:
            for number in range(12):
                bus.putter.put_nowait("k", number, expires=10 if number % 2 else None)
            await until(lambda: (now := bus.bus.account()).accepted == 12 and not now.remaining)
            account = await bus.stop(HANG)
    assert destination.late == []
    assert (account.accepted, account.remaining, account.balanced) == (12, 0, True)
    assert account.expired <= 6
    assert len(set(destination.received)) == account.delivered


async def test_an_event_that_may_be_on_its_way_is_not_taken_for_expired(clock):
    stalled = lambda events: [Stalled("no leader") if event.body == b"1" else None for event in events]  # noqa: E731
    destination = Destination(publish=[stalled] * 3)
    async with running(entry(destination, batch_events=2)) as bus:
        bus.putter.put_nowait("k", 1, expires=10)
        bus.putter.put_nowait("k", 2)
        await until(lambda: destination.calls["publish"])
        clock[0] = 20.0
        await until(lambda: len(destination.received) == 2)
        account = await bus.stop()
    assert sorted(numbers(destination)) == [1, 2]
    assert (account.delivered, account.expired) == (2, 0)


async def test_at_debug_an_event_that_expires_has_a_line(caplog):
    with caplog.at_level("DEBUG", "evbus_like.flow"):
        async with running(entry(Destination(open=[TransientError("away")] * 1000))) as bus:
            event_id = (await bus.putter.put("k", 1, expires=0.001)).id
            await until(lambda: bus.bus.account().expired)
    assert f"expired k {event_id} before fake:default could send it" in caplog.messages

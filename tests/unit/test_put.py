"""engine/put.py: the ways an event gets into the bus."""

import asyncio
import json
import threading
from contextlib import suppress
from enum import Enum, IntEnum

import pytest

from evbus_like.engine import put
from evbus_like.engine.bus import SHARE_EVENTS, Bus
from evbus_like.engine.errors import (
    BadEvent,
    BusStopped,
    EventTooLarge,
    NotDelivered,
    PoisonEvent,
    PutError,
    PutTimeout,
    QueueFull,
    SerializeError,
    TransientError,
)
from evbus_like.engine.put import Putter
from evbus_like.engine.sending.router import Entry, Router
from evbus_like.engine.sending.serializer import Serializer
from tests.unit.fakes import HANG, JSON, Broken, Destination, dump_json, entry, running, until


def numbers(destination):
    return [json.loads(body) for body in destination.received]


def in_thread(work):
    """Run work() in a thread and give what it returned or raised."""
    result = []

    def run():
        try:
            result.append(work())
        except BaseException as error:
            result.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, result


async def joined(thread):
    await asyncio.to_thread(thread.join, HANG)
    assert not thread.is_alive(), "the thread hangs"


# ---- from where


async def test_events_put_before_the_listener_runs_are_delivered_when_it_does():
    destination = Destination()
    bus = Bus(lambda failure: None)
    putter = Putter(bus)
    putter.put_nowait(body=0)
    receipt = await putter.put(body=1)
    assert receipt.destinations is None

    task = asyncio.create_task(bus.run([entry(destination)]))
    await bus.join(HANG)
    await bus.stop(5)
    await task

    assert numbers(destination) == [0, 1]


def test_events_can_be_put_before_any_event_loop_exists():
    destination = Destination()
    bus = Bus(lambda failure: None)
    Putter(bus).put_nowait(body=0)

    async def main():
        task = asyncio.create_task(bus.run([entry(destination)]))
        await bus.join(HANG)
        await bus.stop(5)
        await task

    asyncio.run(main())
    assert numbers(destination) == [0]


async def test_threads_put_at_once_and_each_keeps_its_order():
    destination = Destination()
    async with running(entry(destination)) as bus:
        threads = [
            in_thread(lambda who=who: [bus.putter.put_nowait(body=[who, n]) for n in range(500)])[0] for who in range(4)
        ]
        for thread in threads:
            await joined(thread)
        await bus.stop()

    for who in range(4):
        assert [n for w, n in numbers(destination) if w == who] == list(range(500))


async def test_another_loop_awaits_put_and_keeps_its_order_with_put_nowait():
    destination = Destination()

    async with running(entry(destination)) as bus:

        async def theirs():
            for n in range(0, 300, 3):
                bus.putter.put_nowait(body=n)
                receipt = await bus.putter.put(body=n + 1)
                assert receipt.matched
                bus.putter.put_nowait(body=n + 2)

        thread, result = in_thread(lambda: asyncio.run(theirs()))
        await joined(thread)
        assert result == [None]
        await bus.stop()

    assert numbers(destination) == list(range(300))


async def test_another_loop_hears_of_a_body_that_cannot_be_serialized():
    async with running(entry()) as bus:
        thread, result = in_thread(lambda: asyncio.run(bus.putter.put(body={"a": object()})))
        await joined(thread)

    assert isinstance(result[0], SerializeError)
    assert result[0].path == "body.a"


async def test_order_is_kept_when_put_and_put_nowait_mix():
    destination = Destination()
    async with running(entry(destination)) as bus:
        for n in range(0, 3000, 3):
            bus.putter.put_nowait(body=n)
            bus.putter.put_nowait(body=n + 1)
            await bus.putter.put(body=n + 2)
        for n in range(3000, 3000 + 2 * SHARE_EVENTS):
            bus.putter.put_nowait(body=n)
        await bus.putter.put(body=3000 + 2 * SHARE_EVENTS)
        await bus.stop()

    assert numbers(destination) == list(range(3001 + 2 * SHARE_EVENTS))


# ---- confirm


async def test_an_accepted_put_has_serialized_the_body_so_it_may_be_changed():
    destination = Destination()
    async with running(entry(destination)) as bus:
        body = {"n": 0}
        for n in range(3):
            body["n"] = n
            await bus.putter.put(body=body)
        body["n"] = "changed"
        await bus.stop()

    assert numbers(destination) == [{"n": 0}, {"n": 1}, {"n": 2}]


async def test_headers_may_be_changed_after_an_accepted_put_too():
    destination = Destination()
    async with running(entry(destination)) as bus:
        headers = {}
        for n in range(3):
            headers["n"] = n
            await bus.putter.put(body=n, headers=headers)
        await bus.stop()

    assert [event.headers["n"] for event in destination.events] == [0, 1, 2]


class Kind(str, Enum):  # noqa: UP042 - unlike StrEnum, it prints its name
    ORDERS = "orders"


class Level(IntEnum):
    HIGH = 2


class Ratio(float):
    pass


class Raw(bytes):
    pass


async def test_members_of_enums_and_other_subclasses_are_put_as_their_plain_values():
    destination = Destination()
    headers = {
        Kind.ORDERS: Kind.ORDERS,
        "int": Level.HIGH,
        "float": Ratio(0.5),
        "bytes": Raw(b"x"),
        "list": [Kind.ORDERS],
    }
    plain = {"orders": "orders", "int": 2, "float": 0.5, "bytes": b"x", "list": ["orders"]}
    async with running(entry(destination)) as bus:
        await bus.putter.put(Kind.ORDERS, 1, "default", headers, key=Kind.ORDERS)
        bus.putter.put_nowait(Kind.ORDERS, 2, "default", headers, key=Raw(b"k"))
        await bus.putter.dispatch(Kind.ORDERS, Kind.ORDERS, 3)
        await bus.stop()

    of_service = {"evbus-service": "orders"}
    assert [e.headers for e in destination.events] == [plain, plain, of_service]
    for event in destination.events:
        values = [
            event.routing_key,
            event.profile,
            *event.headers,
            *event.headers.values(),
            *event.headers.get("list", ()),
        ]
        assert {type(each) for each in [*values, event.key]} <= {str, int, float, bytes, list, type(None)}
        assert f"{event.routing_key}" == "orders"


async def test_a_delivered_put_names_every_destination_and_its_outcome():
    async with running(entry(name="a"), entry(name="b")) as bus:
        receipt = await bus.putter.put(body=1, confirm="delivered")

    assert receipt.destinations == ("a", "b")
    assert receipt.outcomes == {"a": "delivered", "b": "delivered"}
    assert receipt.delivered
    assert receipt.pending == ()


async def test_a_delivered_put_raises_with_the_receipt_when_one_destination_refuses_the_event():
    bad = Destination(publish=[PoisonEvent("no such queue")])
    async with running(entry(bad, "bad"), entry(name="good")) as bus:
        with pytest.raises(NotDelivered, match="bad: no such queue") as caught:
            await bus.putter.put(body=1, confirm="delivered")

    assert caught.value.receipt.outcomes["good"] == "delivered"
    assert isinstance(caught.value.receipt.outcomes["bad"], PoisonEvent)


async def test_a_delivered_put_raises_when_nobody_gets_the_event():
    async with running(entry(matches=lambda profile: False)) as bus:
        with pytest.raises(NotDelivered, match="no profile matches 'default'"):
            await bus.putter.put(body=1, confirm="delivered")
        assert bus.bus.account().unmatched == 1


async def test_a_delivered_put_that_is_not_confirmed_in_time_says_what_the_trouble_is_and_the_event_stays():
    destination = Destination(open=[TransientError("no route")] * 10_000)
    async with running(entry(destination)) as bus:
        await until(lambda: bus.lanes[0].error)
        with pytest.raises(NotDelivered, match="no route") as caught:
            await bus.putter.put(body=1, confirm="delivered", timeout=0.05)
        assert caught.value.receipt.pending == ("fake:default",)
        destination.script["open"].clear()
        await until(lambda: destination.received)


async def test_a_delivered_put_ends_when_the_bus_is_stopped():
    destination = Broken(lambda: TransientError("down"))
    async with running(entry(destination)) as bus:
        put = asyncio.create_task(bus.putter.put(body=1, confirm="delivered"))
        await until(lambda: destination.batches)
        await bus.stop(0.1)

        with pytest.raises(NotDelivered, match=r"stopped first.*down"):
            await asyncio.wait_for(put, HANG)


async def test_a_queued_put_returns_before_anything_is_serialized():
    dumped = []
    slow = Serializer("slow", "text/plain", lambda body: dumped.append(body) or b"")
    async with running(entry(serializer=slow)) as bus:
        receipt = await bus.putter.put(body=1, confirm="queued")
        assert (receipt.destinations, dumped) == (None, [])
        await until(lambda: dumped)


async def test_confirm_is_one_of_three_words():
    async with running(entry()) as bus:
        with pytest.raises(BadEvent, match="not 'sent'"):
            await bus.putter.put(body=1, confirm="sent")


async def test_delivered_needs_a_running_bus():
    with pytest.raises(BadEvent, match="needs a running bus"):
        await Putter(Bus(lambda failure: None)).put(body=1, confirm="delivered")


# ---- errors leave nothing behind


@pytest.mark.parametrize("confirm", ["accepted", "delivered"])
async def test_a_body_that_cannot_be_serialized_raises_at_the_call_and_no_destination_has_it(confirm):
    yaml = Serializer("always", "text/plain", lambda body: b"fine")
    async with running(entry(name="a", serializer=yaml), entry(name="b")) as bus:
        with pytest.raises(SerializeError):
            await bus.putter.put(body=object(), confirm=confirm)
        account = bus.bus.account()

    assert (account.put, account.rejected, account.accepted) == (1, 1, 0)
    assert bus.failures == []


async def test_a_body_that_cannot_be_serialized_is_reported_from_put_nowait_and_the_rest_goes_on():
    destination = Destination()
    async with running(entry(destination)) as bus:
        bus.putter.put_nowait(body=0)
        bad = bus.putter.put_nowait(body=object())
        bus.putter.put_nowait(body=1)
        account = await bus.stop()

    assert numbers(destination) == [0, 1]
    assert [(f.event.id, type(f.exception)) for f in bus.failures] == [(bad, SerializeError)]
    assert (account.put, account.rejected, account.delivered) == (3, 1, 2)


@pytest.mark.parametrize("answer", [None, "text"])
async def test_a_serializer_that_gives_no_bytes_does_not_take_the_bus_down(answer):
    destination = Destination()
    odd = Serializer("odd", "text/odd", lambda body: answer if body == "bad" else dump_json(body))
    async with running(entry(destination, serializer=odd)) as bus:
        await bus.putter.put(body=0)
        for n in (1, "bad", 2):
            bus.putter.put_nowait(body=n)
        await until(lambda: len(destination.received) >= 3 or bus.task.done())

        assert not bus.task.done(), bus.task.exception()
        assert numbers(destination) == [0, 1, 2]
        assert bus.bus.account().rejected == 1


async def test_a_matcher_that_raises_does_not_take_the_bus_down():
    destination = Destination()

    def matches(profile):
        if profile == "odd":
            raise ValueError("cannot match that")
        return True

    async with running(entry(destination, matches=matches)) as bus:
        bus.putter.put_nowait(body=0, profile="odd")
        bus.putter.put_nowait(body=1)
        await until(lambda: destination.received or bus.task.done())

        assert not bus.task.done(), bus.task.exception()
        with pytest.raises(PutError):
            await bus.putter.put(body=2, profile="odd")
        assert bus.bus.account().put == 3


async def test_an_event_that_is_too_large_for_one_destination_goes_to_none():
    large, small = Destination(), Destination()
    async with running(entry(large, "large"), entry(small, "small", max_event_bytes=5)) as bus:
        with pytest.raises(EventTooLarge, match="small takes at most 5"):
            await bus.putter.put(body="x" * 10)
        account = await bus.stop()

    assert (large.received, small.received, account.accepted, account.rejected) == ([], [], 0, 1)


@pytest.mark.parametrize(
    "wrong",
    [{"routing_key": {"a": 1}}, {"routing_key": "x" * 256}, {"profile": None}, {"headers": {"a": [1]}}, {"key": 3}],
    ids=lambda wrong: next(iter(wrong)),
)
async def test_what_no_destination_could_use_raises_at_both_calls(wrong):
    async with running(entry()) as bus:
        with pytest.raises(BadEvent):
            bus.putter.put_nowait(**wrong)
        with pytest.raises(BadEvent):
            await bus.putter.put(**wrong)
        assert bus.bus.account().put == 0


# ---- full


async def test_a_full_intake_queue_raises_from_put_nowait_and_makes_put_wait():
    bus = Bus(lambda failure: None, max_events=1)
    putter = Putter(bus)
    putter.put_nowait(body=0)

    with pytest.raises(QueueFull, match="intake queue is full"):
        putter.put_nowait(body=1)
    with pytest.raises(PutTimeout, match=r"had no room for 0.01 s; is hub.evbus.init.start running\?"):
        await putter.put(body=1, timeout=0.01)

    waiting = asyncio.create_task(putter.put(body=2))
    await asyncio.sleep(0)
    bus.intake.get_nowait()
    await asyncio.wait_for(waiting, HANG)
    assert [event.body for event in bus.intake.items] == [2]


@pytest.mark.parametrize("options", [{"max_events": 1}, {"max_bytes": 1}], ids=["events", "bytes"])
async def test_a_full_lane_raises_from_put_nowait_and_makes_put_wait(options):
    destination = Destination(open=[TransientError("down")] * 10_000)
    async with running(entry(destination, **options, max_event_bytes=9)) as bus:
        await bus.putter.put(body=0)

        with pytest.raises(QueueFull, match="fake:default is full"):
            bus.putter.put_nowait(body=1)
        with pytest.raises(PutTimeout, match=r"fake:default is full .*down"):
            await bus.putter.put(body=1, timeout=0.02)
        waiting = asyncio.create_task(bus.putter.put(body=2))
        destination.script["open"].clear()
        await asyncio.wait_for(waiting, HANG)
        await bus.stop()

    assert numbers(destination) == [0, 2]


async def test_a_put_waits_until_all_its_lanes_have_room_at_once():
    one, other = entry(name="fake:one"), entry(name="fake:other", matches=lambda profile: profile == "both")
    async with running(one, other) as bus:
        one.lane.puts_wait = other.lane.puts_wait = True
        waiting = asyncio.create_task(bus.putter.put("k", 1, "both"))
        for lane, full in ((one.lane, other.lane), (other.lane, one.lane)):
            await asyncio.sleep(0)
            lane.puts_wait, full.puts_wait = False, True  # others are faster
            (lane.room or asyncio.Event()).set()
            await asyncio.sleep(0.01)
            assert not waiting.done()
        one.lane.puts_wait = False
        one.lane.room.set()
        await waiting


async def test_only_the_events_for_a_full_lane_wait():
    full = Destination(open=["hang"])
    other = Destination()
    async with running(
        entry(full, "full", matches=lambda p: p == "full", max_events=1),
        entry(other, "other", matches=lambda p: p == "other"),
    ) as bus:
        await bus.putter.put(body=0, profile="full")

        bus.putter.put_nowait(body=1, profile="other")
        await bus.putter.put(body=2, profile="other", confirm="delivered")

    assert numbers(other) == [1, 2]


async def test_many_puts_that_wait_for_one_full_lane_do_not_flood_it_when_it_has_room():
    destination = Destination(open=[TransientError("down")] * 50)
    async with running(entry(destination, max_events=3, batch_events=1)) as bus:
        lane, most = bus.lanes[0], []
        extend = lane.extend
        lane.extend = lambda *args: (extend(*args), most.append(len(lane.queue)))
        await asyncio.wait_for(asyncio.gather(*(bus.putter.put(body=n) for n in range(50))), HANG)

    assert max(most) == 3


async def test_puts_that_wait_for_room_end_when_the_bus_stops():
    destination = Broken(lambda: TransientError("down"))
    async with running(entry(destination, max_events=1)) as bus:
        await bus.putter.put(body=0)
        waiting = asyncio.create_task(bus.putter.put(body=1))
        await asyncio.sleep(0)
        await bus.stop(0.1)

        with pytest.raises(BusStopped):
            await asyncio.wait_for(waiting, HANG)


# ---- cancellation and time-outs: in or out, never half


async def crowded(bus):
    """Put more than two pumps take, so that the next put must wait for its turn."""
    for _ in range(3 * SHARE_EVENTS):
        bus.putter.put_nowait(body="before")


async def test_a_put_cancelled_while_it_waits_for_its_turn_is_out():
    destination = Destination()
    async with running(entry(destination)) as bus:
        await crowded(bus)
        put = asyncio.create_task(bus.putter.put(body="mine"))
        await asyncio.sleep(0)
        put.cancel()
        await asyncio.wait([put])
        assert put.cancelled()
        account = await bus.stop()

    assert destination.received.count(b'"mine"') == 0
    assert account.complete
    assert account.put == 3 * SHARE_EVENTS


async def test_a_put_that_waits_for_its_turn_hears_of_a_body_that_cannot_be_serialized():
    async with running(entry()) as bus:
        await crowded(bus)
        with pytest.raises(SerializeError):
            await bus.putter.put(body=object(), timeout=1)

    assert bus.failures == []


async def test_a_put_cancelled_while_it_waits_for_room_is_out():
    destination = Destination(open=[TransientError("down")] * 30)
    async with running(entry(destination, max_events=1)) as bus:
        await bus.putter.put(body=0)
        put = asyncio.create_task(bus.putter.put(body=1))
        await asyncio.sleep(0)
        put.cancel()
        await asyncio.wait([put])
        await bus.stop()

    assert numbers(destination) == [0]


async def test_a_put_cancelled_while_it_waits_for_delivery_is_in():
    destination = Destination(open=[TransientError("down")] * 30)
    async with running(entry(destination)) as bus:
        put = asyncio.create_task(bus.putter.put(body=1, confirm="delivered"))
        await asyncio.sleep(0)
        put.cancel()
        await asyncio.wait([put])
        account = await bus.stop()

    assert numbers(destination) == [1]
    assert account.complete


async def test_cancelling_puts_at_any_moment_leaves_each_in_once_or_out():
    destination = Destination()
    async with running(entry(destination)) as bus:
        for n in range(100):
            if n % 20 == 0:
                await crowded(bus)
            put = asyncio.create_task(bus.putter.put(body=n))
            for _ in range(n % 5):
                await asyncio.sleep(0)
            put.cancel()
        account = await bus.stop()

    arrived = [n for n in numbers(destination) if n != "before"]
    assert len(arrived) == len(set(arrived))
    assert account.balanced
    assert account.accepted == len(destination.received) == account.put


async def test_a_put_that_raises_put_timeout_is_out_even_when_the_listener_comes_at_that_moment():
    # Given: a bus whose listener comes exactly between the time-out and the put that hears of it
    destination = Destination()
    bus = Bus(lambda failure: None)
    putter, lane = Putter(bus), entry(destination).lane
    bus.loop, bus.state, bus.admission.router = (
        asyncio.get_running_loop(),
        "running",
        Router([Entry(lambda p: True, lane, JSON)]),
    )
    for _ in range(SHARE_EVENTS + 1):
        putter.put_nowait(body="before")
    put = asyncio.create_task(putter.put(body="mine", timeout=0.01))
    await asyncio.sleep(0)
    bus.loop.call_later(0.011, bus.admit_queued)
    deadline = bus.loop.time() + 0.03
    while bus.loop.time() < deadline:  # both timers are due when the loop goes on
        pass

    # When
    outcome = (await asyncio.gather(put, return_exceptions=True))[0]

    # Then
    inside = any(event.body == b'"mine"' for event in lane.queue)
    assert inside != isinstance(outcome, PutTimeout), "PutTimeout was raised, and the event is in"


async def test_a_blocked_listener_loop_is_a_time_out_for_other_loops_and_not_a_hang(monkeypatch):
    monkeypatch.setattr(put, "LOOP_GRACE", 0.05)
    destination = Destination()
    async with running(entry(destination)) as bus:
        thread, result = in_thread(lambda: asyncio.run(bus.putter.put(body="late", timeout=0.05)))
        thread.join(HANG)  # this blocks the listener's loop
        assert not thread.is_alive()
        await bus.stop()

    assert isinstance(result[0], PutTimeout)
    assert destination.received == []


# ---- stopped


async def test_a_put_after_stop_raises_and_strands_nothing():
    async with running(entry()) as bus:
        await bus.stop()
        with pytest.raises(BusStopped, match="takes no events"):
            bus.putter.put_nowait(body=1)
        with pytest.raises(BusStopped):
            await bus.putter.put(body=1)
        thread, result = in_thread(lambda: asyncio.run(bus.putter.put(body=1)))
        await joined(thread)

        assert isinstance(result[0], BusStopped)
        assert bus.bus.account().queued == 0


async def test_a_put_into_a_bus_whose_loop_is_gone_raises():
    bus = Bus(lambda failure: None)
    loop = asyncio.new_event_loop()
    loop.close()
    bus.loop, bus.state = loop, "running"

    with pytest.raises(BusStopped, match="loop of the listener is closed"):
        await Putter(bus).put(body=1)


# ---- economy


async def test_a_body_is_dumped_once_for_each_distinct_serializer():
    dumps = []

    def counting(name):
        return Serializer(name, "text/plain", lambda body: dumps.append(name) or b"x")

    one, other = counting("one"), counting("other")
    entries = [entry(name=str(n), serializer=one) for n in range(5)] + [entry(name="o", serializer=other)]
    async with running(*entries) as bus:
        await bus.putter.put(body=1)
        assert sorted(dumps) == ["one", "other"]
        bus.putter.put_nowait(body=2)
        await bus.stop()

    assert sorted(dumps) == ["one", "one", "other", "other"]


async def test_each_destination_gets_the_bytes_and_the_content_type_of_its_own_serializer():
    text = Serializer("text", "text/plain", lambda body: str(body).encode())
    a, b = Destination(), Destination()
    async with running(entry(a, "a"), entry(b, "b", serializer=text)) as bus:
        await bus.putter.put(body=None)
        bus.putter.put_nowait(body=None)
        await bus.stop()

    assert [(e.body, e.content_type) for e in a.events] == [(b"null", "application/json")] * 2
    assert [(e.body, e.content_type) for e in b.events] == [(b"None", "text/plain")] * 2
    assert [e.id for e in a.events] == [e.id for e in b.events]
    assert all(e.timestamp > 0 for e in a.events + b.events)


def test_a_bus_that_is_started_again_in_another_loop_still_keeps_the_deadlines_of_puts():
    bus = Bus(lambda failure: None)
    putter = Putter(bus)

    async def once(destination, timeout):
        listener = asyncio.create_task(bus.run([entry(destination)]))
        async with asyncio.timeout(HANG):
            await bus.join()
            try:
                await putter.put(body=1, confirm="delivered", timeout=timeout)
            finally:
                await bus.stop(0.1)
                await listener

    with suppress(NotDelivered):  # on a machine that is too busy
        asyncio.run(once(Destination(), 0.1))  # its timer goes with its loop
    with pytest.raises(NotDelivered, match="no confirmation within"):
        asyncio.run(once(Destination(publish=["hang"] * 9), 0.12))

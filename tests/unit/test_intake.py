"""engine/queue.py: the intake queue is bounded in bytes, and no lane waits for another's room."""

import asyncio
import threading
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evbus_like.engine.errors import QueueFull
from evbus_like.engine.event import Event
from evbus_like.engine.outbox import Outbox
from evbus_like.engine.queue import Intake, size_of
from evbus_like.engine.sending.serializer import Serializer
from tests.unit.fakes import HANG, Destination, entry, running, until

MIB = 1024 * 1024


def event(body):
    return Event("key", body, "default")


def put_all(intake, bodies):
    """Put events as long as they are taken; gives how many were."""
    for number, body in enumerate(bodies):
        try:
            intake.put_nowait(event(body))
        except QueueFull:
            return number
    return len(bodies)


@pytest.mark.parametrize("body", [b"x" * 10_000, "x" * 10_000, {"data": "x" * 10_000}, [{"a": ["x" * 1000] * 10}]])
def test_events_are_bounded_in_bytes_whatever_their_bodies_are(body):
    intake = Intake(100_000, MIB, "the intake queue")

    taken = put_all(intake, [body] * 1000)

    assert MIB <= taken * size_of(body) < MIB + 2 * size_of(body)
    assert intake.full()
    with pytest.raises(QueueFull, match=rf"the intake queue is full \({taken} events of \d+ bytes; at most 1048576\)"):
        intake.put_nowait(event(body))
    intake.take(10)
    intake.put_nowait(event(body))


def test_small_events_are_bounded_by_their_number_alone():
    assert put_all(Intake(1000, MIB), [{"n": 1}] * 2000) == 1000


def test_a_queue_that_was_emptied_has_room_again():
    intake = Intake(100_000, MIB)
    for _ in range(3):
        assert put_all(intake, [b"x" * 10_000] * 1000) > 100
        while intake.items:
            intake.take(7)
        assert not intake.full()


def test_one_event_larger_than_the_bound_has_room_in_an_empty_queue():
    assert put_all(Intake(100, MIB), [b"x" * 3 * MIB] * 5) < 4


@settings(max_examples=settings().max_examples)
@given(
    st.lists(st.one_of(st.integers(0, 3000).map(lambda n: b"x" * n), st.just({"a": ["y" * 500] * 4})), max_size=300),
    st.integers(1, 40),
)
def test_the_bytes_in_the_queue_never_exceed_the_bound_by_more_than_a_burst(bodies, most):
    intake = Intake(100_000, 50_000)
    for number, body in enumerate(bodies):
        put_all(intake, [body])
        if number % 40 == 39:
            intake.take(most)
        waiting = sum(size_of(each.body) for each in intake.items)
        assert waiting <= 50_000 + 50 * 3000


def test_other_types_are_measured_too():
    class Order:
        def __init__(self):
            self.text = "x" * 10_000

    assert size_of({"order": Order(), "tags": {"a", "b"}}) > 10_000
    endless = []
    endless.append(endless)
    assert size_of(endless) >= 0


async def test_a_put_waits_for_room_in_bytes():
    intake = Intake(100, 1000)
    put_all(intake, [b"x" * 600] * 3)
    waiting = asyncio.create_task(intake.put(event(b"y")))
    await asyncio.sleep(0)
    assert not waiting.done()
    intake.take(10)
    async with asyncio.timeout(HANG):
        await waiting


@pytest.mark.parametrize("threads", [False, True], ids=["from the loop", "from threads"])
@pytest.mark.parametrize("mode", ["block", "drop_new", "drop_old", "spill", "durable"])
async def test_what_waits_for_a_slow_lane_is_bounded_in_bytes_and_stops_no_other_lane(tmp_path, mode, threads):
    slow, quick = Destination(["hang"]), Destination()
    options = {"durable": True} if mode == "durable" else {"when_full": mode}
    outbox = Outbox(tmp_path / "outbox.db")
    outbox.open()
    entries = [
        entry(slow, "slow", lambda name: name == "slow", max_bytes=MIB, batch_events=1, **options),
        entry(quick, "quick", lambda name: name == "quick"),
    ]
    async with running(*entries, outbox=outbox, timeout=0.1) as bus:
        intake = bus.bus.intake
        intake.max_bytes = MIB
        most = 0

        def put_many():
            nonlocal most
            for number in range(400):
                with suppress(QueueFull):
                    bus.putter.put_nowait("key", "x" * 20_000, "slow")
                most = max(most, sum(size_of(each.body) for each in intake.items.copy()))
                if number % 50 == 0:
                    bus.putter.put_nowait("key", number, "quick") if not intake.full() else None

        if threads:
            thread = threading.Thread(target=put_many)
            thread.start()
            await until(lambda: not thread.is_alive())
        else:
            put_many()
        await until(lambda: not intake.items)
        await bus.putter.put("key", "last", "quick", confirm="delivered")
        lane = entries[0].lane
        assert most <= MIB + 2 * 20_000
        # A thread may fill the queue again before the loop has handed over what it took.
        assert lane.bytes <= (3 if threads else 2) * MIB + 4 * 20_000
        assert quick.received[-1] == b'"last"'
        if mode.startswith("drop"):
            assert lane.bytes <= MIB + 20_004


async def test_what_is_put_before_a_slow_lane_takes_of_its_room_already_and_of_no_other_lanes_room():
    slow, quick = Destination(["hang"]), Destination()
    made = entry(slow, "slow", lambda name: name == "slow", max_bytes=MIB)
    async with running(made, entry(quick, "quick", lambda name: name == "quick"), timeout=0.1) as bus:
        bus.bus.intake.max_bytes = MIB
        await bus.putter.put("key", {"text": "x" * (MIB * 3 // 4)}, "slow")
        for number in range(20):
            with suppress(QueueFull):
                while True:
                    bus.putter.put_nowait("key", {"text": "x" * 20_000}, "slow")
            await bus.putter.put("key", number, "quick", confirm="delivered")

        assert MIB <= made.lane.bytes <= MIB + 20_011
        with pytest.raises(QueueFull, match="slow is full"):
            bus.putter.put_nowait("key", {}, "slow")
    assert quick.received[-1] == b"19"


async def test_a_large_event_makes_room_for_itself_by_dropping_as_many_old_ones_as_it_needs():
    slow = Destination(["hang"])
    made = entry(slow, "slow", max_bytes=1000, when_full="drop_old", batch_events=1)
    async with running(made, timeout=0.1) as bus:
        for _ in range(20):
            await bus.putter.put("key", "x" * 98)
        await bus.putter.put("key", "y" * 700)

        assert made.lane.bytes <= 1000 + 702
        await bus.putter.put("key", "z")
        assert made.lane.bytes < 1000


@pytest.mark.parametrize("reloaded", [False, True])
async def test_a_body_that_is_measured_is_serialized_once_and_by_the_serializer_of_its_profile(reloaded):
    dumped, destination = [], Destination()

    def serializer(name):
        def dump(body):
            dumped.append(name)
            return f"{name} {body['n']} {'x' * 20_000}".encode()

        return Serializer(name, f"application/{name}", dump)

    async with running(entry(destination, serializer=serializer("one"))) as bus:
        bus.bus.intake.max_bytes = MIB
        await bus.putter.put("key", {"n": 0})
        for number in range(40):
            bus.putter.put_nowait("key", {"n": number})
        assert dumped.count("one") > 30
        if reloaded:
            bus.bus.admission.set_routes([entry(destination, serializer=serializer("two"))])
        await until(lambda: not bus.bus.intake.items)

    assert dumped.count("two") == (40 if reloaded else 0)
    assert reloaded or dumped.count("one") == 41

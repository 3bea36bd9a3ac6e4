"""publish_now: a destination that need not wait is served in the listener's own turn, and the task does the rest."""

import asyncio

import pytest

from evbus_like.engine.errors import PoisonEvent, TransientError
from evbus_like.engine.outbox import Outbox
from tests.unit.fakes import Destination, entry, running, until


class Immediate(Destination):
    """A fake with room for so many events at once; `publish` takes what is left, whatever room there is."""

    def __init__(self, room=10_000, error=None, **scripts):
        super().__init__(**scripts)
        self.room = room
        self.error = error
        self.is_open = True
        self.at_once = 0

    def publish_now(self, events):
        if self.error is not None:
            raise self.error
        taken = events[: self.room]
        self.room -= len(taken)
        self.at_once += len(taken)
        self.received += [event.body for event in taken]
        return len(taken)


async def put(bus, *numbers):
    for number in numbers:
        await bus.putter.put(body=number)


def lane_tasks():
    return [task for task in asyncio.all_tasks() if task.get_name().startswith("evbus_like lane")]


def bodies(*numbers):
    return [b"%d" % number for number in numbers]


async def test_what_it_takes_needs_no_task_and_is_counted_as_delivered():
    destination = Immediate()
    async with running(entry(destination)) as bus:
        bus.putter.put_nowait(body=1)
        await put(bus, 2, 3)
        await until(lambda: len(destination.received) == 3)
        assert lane_tasks() == []
        assert bus.lanes[0].state == "open"
        account = await bus.stop()
    assert destination.received == bodies(1, 2, 3)
    assert destination.calls["publish"] == 0
    assert (account.delivered, account.remaining, account.balanced) == (3, 0, True)


async def test_what_it_has_no_room_for_goes_to_publish_in_order():
    destination = Immediate(room=2)
    async with running(entry(destination)) as bus:
        await put(bus, *range(5))
        await until(lambda: len(destination.received) == 5)
        account = await bus.stop()
    assert destination.received == bodies(*range(5))
    assert destination.at_once == 2
    assert account.delivered == 5


async def test_once_the_backlog_is_gone_it_is_asked_first_again():
    destination = Immediate(room=1)
    async with running(entry(destination)) as bus:
        await put(bus, 1, 2)
        await until(lambda: len(destination.received) == 2 and not lane_tasks())
        destination.room = 10
        await put(bus, 3)
        await until(lambda: len(destination.received) == 3)
    assert destination.at_once == 2
    assert destination.received == bodies(1, 2, 3)


async def test_while_the_task_works_nothing_overtakes_it():
    destination = Immediate(room=0, publish=["hang"])
    async with running(entry(destination, timeout=0.05)) as bus:
        await put(bus, 1)
        await until(lambda: destination.calls["publish"] == 1)
        destination.room = 10
        await put(bus, 2)
        await until(lambda: len(destination.received) == 2)
    assert destination.received == bodies(1, 2)


@pytest.mark.parametrize("error", [TransientError("busy"), ValueError("a fault of the plugin")], ids=repr)
async def test_an_error_of_publish_now_leaves_the_events_to_publish(error):
    destination = Immediate(error=error)
    async with running(entry(destination)) as bus:
        await put(bus, 1, 2)
        await until(lambda: len(destination.received) == 2)
        account = await bus.stop()
    assert destination.received == bodies(1, 2)
    assert (account.delivered, account.dead_lettered) == (2, 0)


async def test_a_poison_event_behind_publish_now_is_dead_lettered_alone():
    destination = Immediate(room=0, publish=[[PoisonEvent("never"), None]])
    async with running(entry(destination)) as bus:
        await put(bus, 1, 2)
        await until(lambda: bus.bus.account().dead_lettered == 1 and destination.received)
        account = await bus.stop()
    assert destination.received == bodies(2)
    assert account.balanced


async def test_a_delivery_that_is_waited_for_settles_the_receipt():
    destination = Immediate()
    async with running(entry(destination)) as bus:
        receipt = await bus.putter.put(body=1, confirm="delivered")
    assert receipt.delivered


async def test_a_stop_delivers_what_is_queued():
    destination = Immediate()
    async with running(entry(destination)) as bus:
        for number in range(3000):
            bus.putter.put_nowait(body=number)
        account = await bus.stop()
    assert account.delivered == len(destination.received) == 3000


async def test_events_that_were_stored_first_are_delivered_as_soon_as_they_are(tmp_path):
    destination, outbox = Immediate(), Outbox(tmp_path / "outbox.sqlite")
    outbox.open()
    async with running(entry(destination, durable=True), outbox=outbox) as bus:
        bus.putter.put_nowait(body=1)
        await until(lambda: destination.received == bodies(1))
        await put(bus, 2)
        assert destination.received == bodies(1, 2)

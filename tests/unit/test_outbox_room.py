"""Puts that wait for room in the outbox: they wait as long as they must, and no longer."""

import asyncio

import pytest

from evbus_like.engine.errors import EventTooLarge, OutboxFull, TransientError
from evbus_like.engine.event import Event
from evbus_like.engine.outbox import Outbox
from evbus_like.engine.receipt import Receipt
from evbus_like.engine.sending.serializer import Serializer
from tests.unit.fakes import Destination, dump_json, entry, running, until

DURABLE = {"durable": True}


class Away(Destination):
    """A destination that cannot be reached until it is `back`."""

    def __init__(self):
        super().__init__()
        self.back = False

    async def open(self):
        if not self.back:
            raise TransientError("away")
        await super().open()


class Gated(Destination):
    """A destination that takes nothing until its gate is opened."""

    def __init__(self):
        super().__init__()
        self.gate = asyncio.Event()

    async def publish(self, events):
        await self.gate.wait()
        return await super().publish(events)


def opened(tmp_path):
    outbox = Outbox(tmp_path / "outbox.sqlite")
    outbox.open()
    return outbox


def bound(outbox, room):
    """Leave so many bytes of room in an outbox."""
    outbox.usage.max_bytes = outbox.counts().bytes + room


def only(wanted):
    return lambda profile: profile == wanted


async def test_a_put_that_has_to_take_its_turn_waits_for_room_in_the_outbox_too(tmp_path):
    durable, outbox = Away(), opened(tmp_path)
    entries = [
        entry(durable, "fake:durable", only("durable"), **DURABLE),
        entry(name="fake:memory", matches=only("memory")),
    ]
    async with running(*entries, outbox=outbox) as bus:
        await bus.putter.put("k", "first", "durable")
        bound(outbox, 10)
        for number in range(3000):  # more than the listener does in one turn
            bus.putter.put_nowait("k", number, "memory")
        waiting = asyncio.create_task(bus.putter.put("k", "late", "durable"))
        await until(lambda: not bus.bus.intake.items)
        await asyncio.sleep(0.01)
        assert not waiting.done()

        durable.back = True
        await waiting
        await until(lambda: len(durable.received) == 2)
        account = await bus.stop()
    assert durable.received == [b'"first"', b'"late"']
    assert (account.put, account.rejected, account.complete) == (3002, 0, True)


@pytest.mark.parametrize("awaited", [True, False])
async def test_an_event_that_nobody_puts_again_is_counted_as_rejected_where_the_outbox_is_full(tmp_path, awaited):
    outbox = opened(tmp_path)
    async with running(entry(Away(), **DURABLE), outbox=outbox) as bus:
        await bus.putter.put("k", 1)
        bound(outbox, 10)
        event = Event("k", 2, "default")
        event.attach(Receipt(event.id) if awaited else None)  # put_nowait in a handler makes one
        bus.bus.intake.put_nowait(event)
        await until(lambda: not bus.bus.intake.items)
        account = bus.bus.account()
    assert (account.put, account.accepted, account.rejected) == (2, 1, 1)


async def test_a_put_notices_room_that_there_is_before_it_begins_to_wait(tmp_path, monkeypatch):
    outbox = opened(tmp_path)
    async with running(entry(Away(), **DURABLE), outbox=outbox) as bus:
        await bus.putter.put("k", 1)
        bound(outbox, 10)
        outbox.usage.reserve(10)
        admit = bus.bus.admission.admit

        def room_at_once(event):
            try:
                return admit(event)
            except OutboxFull:  # the writer's thread may be as fast as this
                bound(outbox, 1000)
                outbox.usage.free(10)
                raise

        monkeypatch.setattr(bus.bus.admission, "admit", room_at_once)
        await bus.putter.put("k", 2, timeout=1.0)
        assert outbox.counts().pending == {"fake:default": 2}


async def test_puts_of_several_forms_that_wait_for_room_do_not_keep_waking_each_other(tmp_path, monkeypatch):
    outbox, tries = opened(tmp_path), []
    one, other = Away(), Away()
    entries = [
        entry(one, "fake:one", **DURABLE),
        entry(other, "fake:other", serializer=Serializer("other", "text/plain", dump_json), **DURABLE),
    ]
    async with running(*entries, outbox=outbox) as bus:
        await bus.putter.put("k", 1)
        bound(outbox, outbox.counts().bytes * 3 // 4)  # one form of the next event fits, both do not
        admit = bus.bus.admission.admit
        monkeypatch.setattr(bus.bus.admission, "admit", lambda event: tries.append(event) or admit(event))
        waiting = [asyncio.create_task(bus.putter.put("k", number)) for number in (2, 3)]
        await asyncio.sleep(0.05)
        assert len(tries) == 2

        one.back = other.back = True
        await asyncio.gather(*waiting)
        account = await bus.stop()
    assert account.complete
    assert outbox.counts().bytes == 0


async def test_an_event_whose_forms_never_fit_together_is_refused_at_once(tmp_path):
    outbox = opened(tmp_path)
    other = Serializer("other", "text/plain", dump_json)
    entries = [entry(name="fake:one", **DURABLE), entry(name="fake:other", serializer=other, **DURABLE)]
    async with running(*entries, outbox=outbox) as bus:
        outbox.usage.max_bytes = 3000
        with pytest.raises(EventTooLarge, match="never fit"):
            await bus.putter.put("k", "x" * 2000)
        assert outbox.counts().bytes == 0


async def test_a_put_that_waits_for_the_outbox_goes_on_when_its_own_lane_has_room(tmp_path):
    outbox, spilling = opened(tmp_path), Gated()
    entries = [
        entry(Away(), "fake:dead", only("dead"), **DURABLE),
        entry(spilling, "fake:spill", only("spill"), when_full="spill", max_events=1),
    ]
    async with running(*entries, outbox=outbox) as bus:
        await bus.putter.put("k", 0, "dead")
        bound(outbox, 10)  # and the dead destination will not give any back
        await bus.putter.put("k", 1, "spill")
        waiting = asyncio.create_task(bus.putter.put("k", 2, "spill"))
        await asyncio.sleep(0.01)
        assert not waiting.done()

        spilling.gate.set()
        await waiting
        await until(lambda: spilling.received == [b"1", b"2"])

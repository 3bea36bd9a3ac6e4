"""A stop while the disk is at work: what it writes late, or never, is in the account."""

import asyncio
import threading

import pytest

from evbus_like.engine.errors import PutError, StorageError, TransientError
from evbus_like.engine.outbox import Outbox
from tests.unit.fakes import HANG, Destination, entry, running

DURABLE = {"durable": True}


class Now(Destination):
    """A destination that need not wait."""

    def publish_now(self, events):
        self.received += [event.body for event in events]
        return len(events)


class SlowDisk:
    """Holds every commit of an outbox back from now on, until `go` is set; `busy` says that there is one."""

    def __init__(self, outbox, monkeypatch):
        self.go, self.busy = threading.Event(), threading.Event()
        self._commit = outbox._writer.store.commit
        monkeypatch.setattr(outbox._writer.store, "commit", self.commit)

    def commit(self):
        self.busy.set()
        self.go.wait(HANG)
        self._commit()

    async def at_work(self):
        assert await asyncio.to_thread(self.busy.wait, HANG)


@pytest.fixture
def outbox(tmp_path):
    outbox = Outbox(tmp_path / "outbox.sqlite")
    outbox.open()
    return outbox


async def left(outbox):
    """What a later process finds."""
    later = Outbox(outbox.path)
    later.open()
    try:
        names = later.counts().pending
        return {name: [event.body for _, event in await later.page(name)] for name in names}
    finally:
        await later.close()


def away():
    return Destination(open=[TransientError("away")] * 1000)


async def test_an_event_that_the_disk_takes_after_its_lane_was_closed_stays_for_the_next_start(outbox, monkeypatch):
    errors = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: errors.append(context))
    destination = Now()
    async with running(entry(destination, **DURABLE), outbox=outbox) as bus:
        disk = SlowDisk(outbox, monkeypatch)
        puts = [asyncio.create_task(bus.putter.put("k", number)) for number in (1, 2)]
        await disk.at_work()
        asyncio.get_running_loop().call_later(0.2, disk.go.set)
        account = await bus.stop(0)
        done = await asyncio.gather(*puts, return_exceptions=True)
    assert not errors
    assert destination.received == []
    assert account.balanced
    assert (account.put, account.spilled, account.rejected) == (2, 1, 1)
    assert [isinstance(each, PutError) for each in done] == [False, True]
    assert await left(outbox) == {"fake:default": [b"1"]}


@pytest.mark.parametrize("kind", [Destination, Now])
async def test_an_event_that_waits_for_the_disk_as_a_lane_of_memory_is_closed_is_spilled(outbox, monkeypatch, kind):
    destination = kind()
    entries = [entry(away(), "fake:durable", **DURABLE), entry(destination, "fake:spill", when_full="spill")]
    async with running(*entries, outbox=outbox) as bus:
        disk = SlowDisk(outbox, monkeypatch)
        put = asyncio.create_task(bus.putter.put("k", 1))
        await disk.at_work()
        asyncio.get_running_loop().call_later(0.1, disk.go.set)
        account = await bus.stop(0)
        await put
    assert account.balanced
    assert (account.spilled, account.remaining) == (2, 0)
    assert destination.received == []
    assert await left(outbox) == {"fake:durable": [b"1"], "fake:spill": [b"1"]}


async def test_an_event_that_comes_into_a_lane_while_it_spills_is_spilled_too(outbox, monkeypatch):
    entries = [
        entry(away(), "fake:durable", lambda profile: profile == "both", **DURABLE),
        entry(away(), "fake:spill", when_full="spill"),
    ]
    async with running(*entries, outbox=outbox) as bus:
        await bus.putter.put("k", 1, "spill")
        disk = SlowDisk(outbox, monkeypatch)
        put = asyncio.create_task(bus.putter.put("k", 2, "both"))
        await disk.at_work()
        asyncio.get_running_loop().call_later(0.1, disk.go.set)
        account = await bus.stop(0)
        await put
    assert account.balanced
    assert (account.spilled, account.remaining) == (3, 0)
    assert await left(outbox) == {"fake:durable": [b"2"], "fake:spill": [b"1", b"2"]}


async def test_an_event_that_a_stop_could_not_get_onto_the_disk_is_in_its_account(outbox, monkeypatch):
    async with running(entry(away(), **DURABLE), outbox=outbox) as bus:
        disk = SlowDisk(outbox, monkeypatch)
        put = asyncio.create_task(bus.putter.put("k", 1))
        await disk.at_work()
        account = await bus.stop(0.05)
        disk.go.set()
        with pytest.raises(StorageError):
            await put
    assert (account.put, account.rejected, account.complete) == (1, 1, False)

"""engine/receiving/deaths.py: an event that ends its worker each time is found by notes on the disk."""

import asyncio
import os
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from types import SimpleNamespace

import pytest

from evbus_like.engine.receiving import deaths
from evbus_like.engine.receiving.deaths import Deaths
from evbus_like.engine.receiving.disposition import DEAD_LETTER, DONE
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.kafka import feed
from evbus_like.kafka.feed import Feed
from evbus_like.kafka.offsets import Offsets, Partition
from tests.unit.fakes import until
from tests.unit.sources import Log, Source, consuming, made


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Other workers' notes are looked for each time."""
    monkeypatch.setattr(deaths, "SCAN_EVERY", -1.0)


def event(number=1):
    return ReceivedEvent(b"x", "placed", "orders", f"event-{number}", redelivered=True)


async def dies(folder, *events, ref="handler.ship"):
    """Let a worker end while it handles events; return what it was given about each."""
    worker, told = Deaths(folder), []

    async def handle(each):
        async with worker.noted(ref, each) as problem:
            told.append(problem)
            await asyncio.Event().wait()

    tasks = [asyncio.create_task(handle(each)) for each in events]
    await asyncio.sleep(0.01)
    worker.close()  # a killed process writes no more, and its lock is gone
    found = list(told)
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    return found


async def handles(folder, *events):
    """Let a worker handle events; return what it was given about each."""
    worker, told = Deaths(folder), []
    for each in events:
        async with worker.noted("handler.ship", each) as problem:
            told.append(problem)
    worker.close()
    return told


async def test_notes_that_another_worker_takes_over_at_that_moment_are_no_trouble(tmp_path, monkeypatch, caplog):
    listed = type(tmp_path).iterdir

    def with_one_that_is_gone(folder):
        return iter([*listed(folder), folder / "1-gone"])

    monkeypatch.setattr(type(tmp_path), "iterdir", with_one_that_is_gone)

    assert await handles(tmp_path, event()) == [""]
    assert caplog.messages == []


async def test_an_event_whose_worker_ended_three_times_is_not_handled_again(tmp_path):
    for _ in range(3):
        assert await dies(tmp_path / "notes", event()) == [""]
    assert await handles(tmp_path / "notes", event(), event(2)) == ["its worker ended 3 times while it was handled", ""]
    # A dead letter that is put back begins anew
    assert await handles(tmp_path / "notes", event()) == [""]


async def test_an_event_whose_code_raises_keyboard_interrupt_has_ended_its_worker(tmp_path):
    for _ in range(3):
        worker = Deaths(tmp_path)
        with pytest.raises(KeyboardInterrupt):
            async with worker.noted("handler.ship", event()):
                raise KeyboardInterrupt  # ends the process
        worker.close()
    assert await handles(tmp_path, event(), event(2)) == ["its worker ended 3 times while it was handled", ""]


async def test_events_that_are_handled_beside_the_guilty_one_are_not_counted_again(tmp_path):
    innocent = [event(number) for number in range(2, 6)]
    await dies(tmp_path, event(), *innocent)
    for _ in range(2):  # those that saw a worker end are handled one at a time
        assert len(await dies(tmp_path, event(), *innocent)) == 1
    assert await handles(tmp_path, *innocent, event()) == [
        "",
        "",
        "",
        "",
        "its worker ended 3 times while it was handled",
    ]


async def test_an_event_that_was_handled_in_between_is_innocent(tmp_path):
    await dies(tmp_path, event())
    await dies(tmp_path, event())
    await handles(tmp_path, event())
    await dies(tmp_path, event())
    assert await handles(tmp_path, event()) == [""]


async def test_workers_that_live_keep_their_notes_and_those_that_ended_leave_none(tmp_path):
    living = Deaths(tmp_path)
    async with living.noted("handler.ship", event()):
        await handles(tmp_path, event(2))
        assert await handles(tmp_path, event()) == [""]
    await dies(tmp_path, event(3))
    await handles(tmp_path, event(3))
    assert len(os.listdir(tmp_path)) <= 2
    living.close()


async def test_notes_have_a_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(deaths, "MOST_BYTES", 1000)
    await dies(tmp_path, event())
    worker = Deaths(tmp_path)
    for number in range(200):
        async with worker.noted("handler.ship", event(number + 2)):
            pass
    (name,) = os.listdir(tmp_path)
    assert (tmp_path / name).stat().st_size < 1200
    worker.close()
    assert (await dies(tmp_path, event()), await dies(tmp_path, event())) == ([""], [""])
    assert await handles(tmp_path, event()) == ["its worker ended 3 times while it was handled"]


async def test_a_folder_that_cannot_be_used_and_notes_that_are_garbage_stop_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    assert await handles(tmp_path / "file" / "notes", event()) == [""]
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "1-x").write_bytes(b"\xff=+\n=a b\n=\n+\n-x\n=y 99999999999999999999\n")
    (tmp_path / "notes" / "link").symlink_to(tmp_path / "file")
    assert await handles(tmp_path / "notes", event()) == [""]
    assert (tmp_path / "file").exists()


async def test_the_first_events_of_a_feed_are_noted_and_later_ones_only_if_they_are_redelivered():
    noted = []

    class Noting:
        @asynccontextmanager
        async def noted(self, ref, event):
            noted.append(event.id)
            yield ""

    source = Source(batch=1)
    async with consuming(source, Log(), prefetch=2, max_workers=1) as consumer:
        consumer.invoker.deaths = Noting()
        source.put(*range(4))
        await until(lambda: len(source.settled) == 4)
        assert noted == ["0", "1"]
        source.put("again", redelivered=True)
        await until(lambda: len(source.settled) == 5)
    assert noted == ["0", "1", "again"]


def batches_with(folder):
    """An invoker of batches that notes events in a folder, and the ids of the events of each call."""
    calls = []

    async def handle(events):
        calls.append([each.id for each in events])

    invoker = made(Source(), handle, batch=10).invoker
    invoker.deaths = Deaths(folder)
    return invoker, calls


SHIP = "handler.shipping.ship"


async def test_of_a_batch_an_event_that_ended_a_worker_is_called_alone_and_the_others_together(tmp_path):
    events = [event(number) for number in range(5)]
    await dies(tmp_path, events[2], ref=SHIP)
    invoker, calls = batches_with(tmp_path)

    assert await invoker.call_batch(events) == [DONE] * 5
    assert calls == [["event-0", "event-1"], ["event-2"], ["event-3", "event-4"]]
    calls.clear()
    await invoker.call_batch(events)
    assert [len(call) for call in calls] == [5], "it was handled in between: it is innocent"


async def test_of_a_batch_an_event_that_ended_three_workers_is_given_up_and_the_others_are_handled(tmp_path):
    for _ in range(3):
        await dies(tmp_path, event(1), ref=SHIP)
    invoker, calls = batches_with(tmp_path)

    first, guilty, last = await invoker.call_batch([event(0), event(1), event(2)])
    assert calls == [["event-0"], ["event-2"]]
    assert (first, last) == (DONE, DONE)
    assert guilty.kind == DEAD_LETTER
    assert "its worker ended 3 times while it was handled" in guilty.reason


async def test_a_batch_that_ends_its_worker_is_noted_with_all_its_events_that_may_be_repeats(tmp_path):
    fresh = ReceivedEvent(b"x", "placed", "orders", "event-9")
    invoker, _ = batches_with(tmp_path)
    invoker.deaths = worker = Deaths(tmp_path)
    gate, begun = asyncio.Event(), asyncio.Event()

    async def handle(events):
        begun.set()
        await gate.wait()

    invoker.handler = replace(invoker.handler, call=handle)
    calling = asyncio.create_task(invoker.call_batch([event(1), fresh, event(2)]))
    await begun.wait()
    worker.close()  # as if it were killed now
    gate.set()
    await calling
    found = Deaths(tmp_path)
    assert [found.count(SHIP, each) for each in (event(1), fresh, event(2))] == [1, 0, 1]
    found.close()


async def test_one_event_for_a_handler_of_batches_is_a_batch_of_one(tmp_path):
    invoker, calls = batches_with(tmp_path)
    assert await invoker.call(event(1)) is DONE
    assert calls == [["event-1"]]


async def test_the_first_events_of_a_partition_of_kafka_are_noted_wherever_it_begins(monkeypatch):
    monkeypatch.setattr(feed, "MAX_AHEAD", 10)
    monkeypatch.setattr(Partition, "ahead", 0)
    read = SimpleNamespace(offsets=Offsets(), _reader=SimpleNamespace(event=lambda record, _: ReceivedEvent(b"")))
    found = Feed._events(read, {"place": [SimpleNamespace(offset=offset) for offset in range(500, 511)]})
    assert [event.may_repeat for event in found] == [True] * 10 + [False]

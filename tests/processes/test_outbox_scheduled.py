"""Scheduled events in the outbox, in files that are damaged and in processes that are killed."""

import asyncio
import os
import random
import signal
import sqlite3
import time

import pytest

from evbus_like.engine.outbox import Outbox
from tests.unit.fakes import HANG
from tests.unit.outboxes import content, make, opened, spawn

COUNT = 400
DUE = 2_000_000_000.0
KILLED = """
    import asyncio, os, sys
    from evbus_like.engine.outbox import Outbox
    from tests.unit.fakes import Destination, entry, running

    class Loud(Destination):
        async def publish(self, events):
            os.write(1, b"".join(b"sent %s\\n" % event.id.encode() for event in events))

    async def puts(putter, n):
        while True:
            delay = n % 10 / 100 if n % 2 else 0.5
            receipt = await putter.put("k", n, delay=delay)
            os.write(1, f"put {receipt.id} {receipt.due!r}\\n".encode())
            n += 1
            if n % 7 == 0:
                third = await putter.put("k", n, delay=3600)
                await putter.cancel(third.schedule_id)
                os.write(1, f"cancelled {third.id}\\n".encode())

    async def main():
        outbox = Outbox(sys.argv[1])
        outbox.open()
        async with running(entry(Loud(), durable=True), outbox=outbox) as bus:
            await asyncio.gather(*(puts(bus.putter, task) for task in range(5)))

    asyncio.run(main())
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "outbox.db"


async def fill(path):
    """Schedule events, and give them by their ids."""
    events = [make(b"%d " % n + b"x" * (9000 if n % 50 == 0 else 300), headers={"n": n}) for n in range(COUNT)]
    async with opened(path) as outbox:
        await asyncio.gather(*(outbox.schedule(DUE + n, [(event, ("a", "b"))]) for n, event in enumerate(events)))
    return {event.id: content(event) for event in events}


async def open_and_list(path):
    """Open a damaged outbox, and give what was recovered, the scheduled events, and the dead letters."""
    outbox = Outbox(path)
    recovered = outbox.open()
    try:
        return recovered, await outbox.scheduled(10_000), await outbox.dead_letters(limit=10_000), outbox.counts()
    finally:
        await outbox.close()


async def test_a_file_with_scheduled_events_is_opened_without_a_report(path):
    events = await fill(path)

    recovered, found, _, counts = await open_and_list(path)

    assert recovered is None
    assert [each.due for each in found] == [DUE + n for n in range(COUNT)]
    assert {each.id: content(each.forms[0][0]) for each in found} == events
    assert {each.destinations for each in found} == {("a", "b")}
    assert counts.scheduled == COUNT
    assert counts.bytes == sum(each.size for each in found)


@pytest.mark.parametrize("seed", range(6))
async def test_of_a_truncated_file_the_events_that_are_left_keep_their_times(path, seed):
    events = await fill(path)
    size = path.stat().st_size
    left = random.Random(seed).randrange(1, size)
    os.truncate(path, left)

    recovered, found, _, counts = await open_and_list(path)

    assert recovered is not None
    assert recovered.events == len(found) == counts.scheduled
    assert len(found) > COUNT * (left - 60_000) / size * 0.8 - 20
    assert all(content(each.forms[0][0]) == events[each.id] for each in found)
    assert all(each.due == DUE + each.forms[0][0].headers["n"] for each in found)


@pytest.mark.parametrize(
    "damage",
    ["due = due - 1e9", "profile = 'other'", "destinations = '[\"c\"]'", "id = 'x'", "due = 'soon'", "sum = sum + 1"],
)
async def test_an_event_whose_time_or_place_is_damaged_is_a_dead_letter_and_not_sent(path, damage):
    events = await fill(path)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"UPDATE scheduled SET {damage} WHERE number = 7")
    connection.close()

    recovered, found, dead, counts = await open_and_list(path)

    assert "1 rows cannot have been written" in recovered.reason
    assert (len(found), counts.scheduled, counts.dead) == (COUNT - 1, COUNT - 1, 1)
    assert dead[0].event.id in events
    assert "the disk returned other bytes than were written" in dead[0].reason


async def test_an_event_whose_body_is_damaged_is_a_dead_letter_when_it_is_due(path):
    await fill(path)
    async with opened(path) as outbox:
        bytes_before = outbox.counts().bytes
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("UPDATE scheduled SET record = CAST(replace(record, 'x', 'y') AS BLOB) WHERE number = 1")
    connection.close()

    async with opened(path) as outbox:
        due = await outbox.read_due(DUE + 10, 100)
        assert [each.due for each in due] == [DUE + n for n in range(1, 11)]
        [letter] = await outbox.dead_letters()
        assert letter.kind == "damaged"
        assert (outbox.counts().scheduled, outbox.counts().dead) == (COUNT - 1, 1)
        await outbox.purge([letter.number])
        assert 0 < outbox.counts().bytes < bytes_before


@pytest.mark.parametrize("seed", range(4))
async def test_after_kills_every_event_that_put_returned_for_was_sent_and_none_too_early(path, seed):
    put, cancelled, sent = {}, set(), {}
    for life in range(3):
        process = await spawn(KILLED, path)
        async with asyncio.timeout(2 * HANG):
            lines = [await process.stdout.readline()]
            reading = asyncio.create_task(process.stdout.read())
            await asyncio.sleep(random.Random(seed + 10 * life).random() * 0.6)
            process.send_signal(signal.SIGKILL)
            now = time.time()
            lines += (await reading).split(b"\n")[:-1]  # the last may be torn
            await process.wait()
        for line in lines:
            what, event_id, *due = line.decode().split()
            if what == "put":
                put[event_id] = float(due[0])
            elif what == "cancelled":
                cancelled.add(event_id)
            else:
                sent.setdefault(event_id, now)

    assert put
    async with opened(path) as outbox:
        left = {each.id for each in await outbox.scheduled(100_000)}
        waiting = {event.id for _, event in await outbox.page("fake:default", 0, 100_000, 10**9)}
    assert put.keys() <= sent.keys() | left | waiting
    assert not left & waiting
    assert not cancelled & (sent.keys() | left | waiting)
    assert all(put[event_id] <= now for event_id, now in sent.items() if event_id in put)

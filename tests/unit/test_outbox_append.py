"""engine/outbox/outbox.py: events in, to each destination's list, and out again when all have them."""

import asyncio
import sqlite3
import threading

import pytest

from evbus_like.engine.errors import BadEvent, EventTooLarge
from evbus_like.engine.outbox import Outbox, OutboxClosed, OutboxFull, OutboxLocked, StorageError, inspect
from evbus_like.engine.outbox import outbox as outbox_module
from evbus_like.engine.outbox.record import OVERHEAD, pack, size
from tests.unit.fakes import HANG, until
from tests.unit.outboxes import Disk, append_one, bodies, content, make, opened


@pytest.fixture
def path(tmp_path):
    return tmp_path / "outbox.db"


def rows(path, table="segments"):
    """How many rows a table has, as another program sees it."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    finally:
        connection.close()


async def test_an_event_that_was_appended_is_there_after_a_restart(path):
    event = make(headers={"a": 1}, key=b"k")
    async with opened(path) as outbox:
        seq = await append_one(outbox, event, ["a"])

    async with opened(path) as outbox:
        [(found_seq, found)] = await outbox.page("a")

    assert (found_seq, content(found)) == (seq, content(event))


async def test_an_append_is_on_the_disk_when_it_returns(path):
    async with opened(path) as outbox:
        await append_one(outbox, make(), ["a", "b"])

        assert (rows(path), inspect.summarize(path).waiting) == (1, {"a": 1, "b": 1})


async def test_the_body_is_stored_once_for_all_destinations(path):
    async with opened(path) as outbox:
        await append_one(outbox, make(b"x" * 100_000), ["a", "b", "c"])

        assert rows(path) == 1
        assert outbox.counts().bytes < 101_000


async def test_an_event_leaves_the_file_when_the_last_destination_has_it(path):
    async with opened(path) as outbox:
        seq = await append_one(outbox, make(), ["a", "b"])
        outbox.settle("a", [seq])
        await outbox.flush()
        assert (await bodies(outbox, "a"), await bodies(outbox, "b")) == ([], [b"{}"])
        assert rows(path) == 1

        outbox.settle("b", [seq])
        await outbox.flush()
        assert (rows(path), rows(path, "done")) == (0, 0)
        assert outbox.counts().bytes == 0


async def test_settling_for_a_destination_that_does_not_wait_for_it_takes_nothing_away(path):
    async with opened(path) as outbox:
        await append_one(outbox, make(1), ["b"])
        seq = await append_one(outbox, make(2), ["a"])
        await append_one(outbox, make(3), ["b"])
        for name in ("b", "nobody"):
            outbox.settle(name, [seq, 99])
        await outbox.flush()

        assert await bodies(outbox, "a") == [b"2"]
        assert outbox.counts().pending == {"a": 1, "b": 2}


@pytest.mark.parametrize("step", [1, 2, 3])
async def test_thousands_of_events_are_settled_together(path, step):
    async with opened(path) as outbox:
        seqs = await outbox.append([(make(n), ["a", "b"] if n % 5 == 0 else ["a"]) for n in range(3000)])
        outbox.settle("a", seqs[::step])
        await outbox.flush()

        counts = outbox.counts()
        assert counts.pending.get("a", 0) == 3000 - len(seqs[::step]) == len(await outbox.page("a", 0, 5000))
        assert counts.pending["b"] == 600 == len(await outbox.page("b", 0, 5000))
        in_memory = counts.bytes

    async with opened(path) as outbox:
        assert outbox.counts().bytes == in_memory


async def test_seqs_have_the_order_of_the_calls(path):
    async with opened(path) as outbox:
        many = asyncio.create_task(outbox.append([(make(n), ["a"]) for n in (0, 1, 2)]))
        await asyncio.sleep(0)
        others = [asyncio.create_task(append_one(outbox, make(n), ["a"])) for n in range(3, 50)]
        seqs = [*await many, *await asyncio.gather(*others)]

        assert seqs == sorted(seqs)
        assert await bodies(outbox) == [b"%d" % n for n in range(50)]


async def test_loops_in_several_threads_append_and_each_keeps_its_order(path):
    async def appends(name):
        for n in range(100):
            await append_one(outbox, make(n, routing_key=name), ["a"])

    async with opened(path) as outbox:
        threads = [threading.Thread(target=asyncio.run, args=(appends(f"t{n}"),)) for n in range(4)]
        for thread in threads:
            thread.start()
        await until(lambda: not any(thread.is_alive() for thread in threads))

        page = [event for _, event in await outbox.page("a")]
        for n in range(4):
            assert [int(event.body) for event in page if event.routing_key == f"t{n}"] == list(range(100))


async def test_a_batch_is_appended_as_a_whole_or_not_at_all(path):
    async with opened(path) as outbox:
        with pytest.raises(BadEvent, match="destination twice"):
            await outbox.append([(make(1), ["a"]), (make(2), ["a", "a"])])

        assert await bodies(outbox) == []
        assert outbox.counts().bytes == 0


async def test_a_page_ends_by_events_and_by_bytes_and_has_at_least_one(path):
    async with opened(path) as outbox:
        seqs = await outbox.append([(make(b"x" * 1000), ["a"]) for _ in range(10)])

        assert [seq for seq, _ in await outbox.page("a", seqs[2], limit_events=3)] == seqs[3:6]
        assert [seq for seq, _ in await outbox.page("a", 0, limit_bytes=2500)] == seqs[:2]
        assert [seq for seq, _ in await outbox.page("a", 0, limit_bytes=1)] == seqs[:1]
        assert await outbox.page("a", seqs[-1]) == []
        assert await outbox.page("nobody") == []


async def test_what_was_settled_before_a_page_is_not_on_it(path):
    async with opened(path) as outbox:
        seqs = await outbox.append([(make(n), ["a"]) for n in range(5)])
        outbox.settle("a", seqs[:2])

        assert await bodies(outbox) == [b"2", b"3", b"4"]


async def test_counts_are_the_same_after_a_restart(path):
    async with opened(path) as outbox:
        seqs = [await append_one(outbox, make(b"x" * n, headers={"n": n}), ["a", "b"]) for n in range(20)]
        outbox.settle("a", seqs[:7])
        await outbox.dead_letter("b", seqs[3], "no", "poison", 1)
        await outbox.dead_letter_event("c", make(), "no", "poison", 1)
        await outbox.flush()
        before = outbox.counts()

    assert before.pending == {"a": 13, "b": 19}
    assert before.dead == 2
    async with opened(path) as outbox:
        assert outbox.counts() == before


async def test_events_of_a_destination_that_is_gone_stay_and_are_counted(path):
    async with opened(path) as outbox:
        await append_one(outbox, make(1), ["old"])
    async with opened(path) as outbox:
        await append_one(outbox, make(2), ["new"])
    async with opened(path) as outbox:
        assert outbox.counts().pending == {"old": 1, "new": 1}
        assert await bodies(outbox, "old") == [b"1"]


async def test_seqs_go_on_after_a_restart(path):
    async with opened(path) as outbox:
        first = await append_one(outbox, make(1), ["a"])
    async with opened(path) as outbox:
        assert await append_one(outbox, make(2), ["a"]) > first


async def test_an_event_that_rots_on_the_disk_is_a_dead_letter_and_the_others_go_on(path):
    async with opened(path) as outbox:
        await outbox.append([(make(b"body %d" % n), ["a", "b"] if n == 1 else ["a"]) for n in range(3)])
    data = path.read_bytes()
    path.write_bytes(data.replace(b"body 1", b"bodx 1"))

    async with opened(path) as outbox:
        assert await bodies(outbox) == [b"body 0", b"body 2"]
        assert await bodies(outbox, "b") == []
        assert [(letter.destination, letter.kind) for letter in await outbox.dead_letters()] == [
            ("a", "damaged"),
            ("b", "damaged"),
        ]
        assert (await outbox.read_dead_letter(1)).event.body == b"bodx 1"


async def test_a_length_that_rots_costs_no_neighbour_its_place(path):
    events = [make(b"body %d" % n) for n in range(5)]
    async with opened(path) as outbox:
        seqs = await outbox.append([(event, ["a"]) for event in events])
    data, record = path.read_bytes(), pack(events[2])
    path.write_bytes(data.replace(record, b"\x77" + record[1:]))

    async with opened(path) as outbox:
        page = await outbox.page("a")
        assert [(seq, event.body) for seq, event in page] == [(seqs[n], b"body %d" % n) for n in range(5) if n != 2]
        [letter] = await outbox.dead_letters()
        assert (letter.kind, (await outbox.read_dead_letter(letter.number)).event.id) == ("damaged", events[2].id)
        outbox.settle("a", [seq for seq, _ in page])
        await outbox.flush()
        assert (outbox.counts().pending, rows(path)) == ({}, 0)


# ---- packed before


async def test_a_bad_event_does_not_spoil_those_that_are_packed_beside_it(path):
    async with opened(path, max_bytes=1000) as outbox:
        parcels = outbox.pack([(make(n), ("a",)) for n in range(2)])
        for event, names, error in [
            (make(body={}), ["a"], BadEvent),
            (make(), ["a", "a"], BadEvent),
            (make(b"x" * 1000), ["a"], EventTooLarge),
            (make(b"x" * 600), ["a"], OutboxFull),
        ]:
            with pytest.raises(error):
                outbox.pack([(event, names)])
        held = outbox.counts().bytes
        seqs = await outbox.submit_packed(parcels)

        assert seqs == [seq for seq, _ in await outbox.page("a")]
        assert (await bodies(outbox), outbox.counts().bytes) == ([b"0", b"1"], held)


async def test_what_was_packed_and_is_not_submitted_is_not_counted_once_it_is_released(path):
    outbox = Outbox(path)
    outbox.open()
    parcels = outbox.pack([(make(), ("a",))])
    await outbox.close()
    with pytest.raises(OutboxClosed):
        outbox.submit_packed(parcels)
    outbox.release(parcels)

    assert outbox.counts().bytes == 0


# ---- bounds


async def test_a_full_outbox_refuses_and_takes_again_when_there_is_room(path):
    async with opened(path, max_bytes=3 * (OVERHEAD + 1000)) as outbox:
        events = [make(b"x" * 900) for _ in range(4)]
        seqs = [await append_one(outbox, event, ["a"]) for event in events[:3]]
        with pytest.raises(OutboxFull, match=r"is full: \d+ of \d+ bytes, 3 events wait and 0 dead letters"):
            await append_one(outbox, events[3], ["a"])
        waiting = asyncio.create_task(outbox.wait_for_room(size(pack(events[3]))))
        await asyncio.sleep(0.01)
        assert not waiting.done()

        outbox.settle("a", seqs[:1])
        await waiting
        await append_one(outbox, events[3], ["a"])
        assert len(await bodies(outbox)) == 3


async def test_appends_at_the_same_time_do_not_overshoot_the_bound(path):
    async with opened(path, max_bytes=10_000) as outbox:
        results = await asyncio.gather(
            *(append_one(outbox, make(b"x" * 500), ["a"]) for _ in range(50)), return_exceptions=True
        )

        assert outbox.counts().bytes <= 10_000
        assert sum(isinstance(result, int) for result in results) == len(await bodies(outbox)) > 10
        assert {type(result) for result in results} == {int, OutboxFull}


async def test_closing_ends_the_wait_for_room(path):
    outbox = Outbox(path, max_bytes=1000)
    outbox.open()
    await append_one(outbox, make(b"x" * 700), ["a"])
    waiting = asyncio.create_task(outbox.wait_for_room(size(pack(make(b"x" * 700)))))
    await asyncio.sleep(0.01)
    await outbox.close()

    with pytest.raises(OutboxClosed):
        await asyncio.wait_for(waiting, HANG)


async def test_full_says_that_nothing_fits(path):
    event = make(b"x" * 500)
    async with opened(path) as outbox:
        assert not outbox.full
        await append_one(outbox, event, ["a"])
        outbox.usage.max_bytes = outbox.counts().bytes

        assert outbox.full
        assert outbox.counts().full


async def test_an_event_larger_than_the_outbox_is_too_large_rather_than_in_need_of_room(path):
    async with opened(path, max_bytes=1000) as outbox:
        with pytest.raises(EventTooLarge, match="never fit"):
            await append_one(outbox, make(b"x" * 1000), ["a"])
        with pytest.raises(EventTooLarge, match="never fit"):
            await asyncio.wait_for(outbox.wait_for_room(size(pack(make(b"x" * 1000)))), HANG)


# ---- what cannot be done


async def test_a_body_that_is_not_serialized_and_an_event_for_nobody_are_refused(path):
    async with opened(path) as outbox:
        with pytest.raises(BadEvent, match=r"body of .* is a dict"):
            await append_one(outbox, make(body={}), ["a"])
        with pytest.raises(BadEvent, match="no destination"):
            await append_one(outbox, make(), [])
        assert outbox.counts().bytes == 0


async def test_before_open_and_after_close_it_says_so(path):
    outbox = Outbox(path)
    with pytest.raises(OutboxClosed, match="is not open"):
        await append_one(outbox, make(), ["a"])
    outbox.open()
    await outbox.close()
    for call in (lambda: append_one(outbox, make(), ["a"]), lambda: outbox.page("a"), lambda: outbox.flush()):
        with pytest.raises(OutboxClosed, match="is not open"):
            await call()
    with pytest.raises(OutboxClosed, match="is not open"):
        outbox.settle("a", [1])
    await outbox.close()


async def test_an_outbox_that_was_closed_can_be_opened_again(path):
    outbox = Outbox(path)
    for n in range(2):
        outbox.open()
        await append_one(outbox, make(n), ["a"])
        with pytest.raises(OutboxLocked, match="open already"):
            outbox.open()
        await outbox.close()

    async with opened(path) as outbox:
        assert await bodies(outbox) == [b"0", b"1"]


async def test_a_cancelled_append_is_in_or_out_and_never_half(path):
    async with opened(path) as outbox:
        for n in range(300):
            task = asyncio.create_task(append_one(outbox, make(n), ["a", "b"]))
            for _ in range(n % 5):
                await asyncio.sleep(0)
            if n % 3 == 0:
                await asyncio.sleep(0.00003 * (n % 10))
            task.cancel()
            await asyncio.wait([task])
        await outbox.flush()

        first, second = await bodies(outbox, "a"), await bodies(outbox, "b")
        assert first == second
        assert len(first) == outbox.counts().pending.get("a", 0)
        held = outbox.counts().bytes
    async with opened(path) as outbox:
        assert outbox.counts().bytes == held


async def test_an_append_that_is_cancelled_before_the_writer_comes_to_it_is_out(path, monkeypatch):
    disk, busy, go = Disk(), threading.Event(), threading.Event()

    def hold(statement):
        if statement == "COMMIT" and not busy.is_set():
            busy.set()
            go.wait(HANG)

    monkeypatch.setattr(outbox_module, "connect", disk.connect)
    async with opened(path) as outbox:
        disk.before = hold
        first = asyncio.create_task(append_one(outbox, make(1), ["a"]))
        await until(busy.is_set)
        second = asyncio.create_task(append_one(outbox, make(2), ["a"]))
        await asyncio.sleep(0)
        first.cancel()
        second.cancel()
        await asyncio.wait([first, second])
        go.set()

        assert await bodies(outbox) == [b"1"]
        assert outbox.counts().bytes == size(pack(make(1)))


async def test_a_future_gives_the_seqs_of_a_commit_after_its_task_was_cancelled(path):
    async with opened(path) as outbox:
        future = outbox.submit_packed(outbox.pack([(make(), ["a"])]))
        task = asyncio.create_task(asyncio.wait_for(asyncio.shield(future), HANG))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

        assert await future == [seq for seq, _ in await outbox.page("a")]


async def test_a_loop_that_is_gone_does_not_hinder_the_others(path):
    async def leave():
        outbox.submit_packed(outbox.pack([(make(0), ["a"])]))

    async with opened(path) as outbox:
        await asyncio.to_thread(asyncio.run, leave())
        await append_one(outbox, make(1), ["a"])

        assert (await bodies(outbox))[-1] == b"1"


async def test_storage_errors_are_put_errors_that_say_what_to_do(path, monkeypatch):
    disk = Disk()
    monkeypatch.setattr(outbox_module, "connect", disk.connect)
    async with opened(path) as outbox:
        disk.fail()
        with pytest.raises(StorageError, match=r"outbox\.db cannot be written: disk I/O error; check the disk"):
            await append_one(outbox, make(), ["a"])
        disk.mend()

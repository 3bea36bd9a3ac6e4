"""engine/outbox/writer.py: many jobs to a commit, and what becomes of them when the disk or one of them fails."""

import asyncio
import sqlite3
import threading
import time

import pytest

from evbus_like.engine.errors import BadEvent
from evbus_like.engine.outbox import NotInOutbox, OutboxClosed, StorageError
from evbus_like.engine.outbox import jobs as settled_module
from evbus_like.engine.outbox import outbox as outbox_module
from evbus_like.engine.outbox import writer as writer_module
from evbus_like.engine.outbox.outbox import Outbox
from tests.unit.fakes import HANG, until
from tests.unit.outboxes import Disk, append_one, bodies, make, opened


@pytest.fixture
def path(tmp_path):
    return tmp_path / "outbox.db"


@pytest.fixture
def disk(monkeypatch):
    disk = Disk()
    monkeypatch.setattr(outbox_module, "connect", disk.connect)
    return disk


def commits(outbox):
    return outbox._writer.commits


# ---- groups


async def test_every_commit_reaches_the_disk(path):
    async with opened(path) as outbox:
        for pragma, value in [("synchronous", 2), ("journal_mode", "wal"), ("fullfsync", 1)]:
            found = await outbox._run(
                lambda store, pragma=pragma: store.connection.execute(f"PRAGMA {pragma}").fetchone()
            )
            assert found == (value,)


async def test_appends_of_many_tasks_share_commits(path):
    async with opened(path) as outbox:
        before = commits(outbox)
        await asyncio.gather(*(append_one(outbox, make(n), ["a"]) for n in range(1000)))

        assert commits(outbox) - before <= 20


async def test_tasks_that_append_one_event_after_the_other_share_commits_too(path):
    async def appends():
        for _ in range(20):
            await append_one(outbox, make(), ["a"])

    async with opened(path) as outbox:
        before = commits(outbox)
        await asyncio.gather(*(appends() for _ in range(50)))

        assert commits(outbox) - before <= 60


async def test_a_commit_answers_a_loop_with_one_call(path, monkeypatch):
    loop = asyncio.get_running_loop()
    real, calls = loop.call_soon_threadsafe, []
    async with opened(path) as outbox:
        before = commits(outbox)
        monkeypatch.setattr(loop, "call_soon_threadsafe", lambda *args: (calls.append(args), real(*args)))
        await asyncio.gather(*(append_one(outbox, make(), ["a"]) for _ in range(200)))

        assert len(calls) == commits(outbox) - before < 10


async def test_a_transaction_has_a_bound(path, monkeypatch):
    monkeypatch.setattr(writer_module, "GROUP_JOBS", 10)
    async with opened(path) as outbox:
        await asyncio.gather(*(append_one(outbox, make(), ["a"]) for _ in range(100)))

        assert commits(outbox) >= 10


async def test_nothing_is_committed_while_nothing_happens(path):
    async with opened(path) as outbox:
        await append_one(outbox, make(), ["a"])
        before, started = commits(outbox), time.process_time()
        await asyncio.sleep(0.3)

        assert commits(outbox) == before
        assert time.process_time() - started < 0.1


async def test_what_was_settled_goes_with_the_commit_of_an_append(path, monkeypatch):
    monkeypatch.setattr(settled_module, "LINGER", 60.0)
    async with opened(path) as outbox:
        seq = await append_one(outbox, make(), ["a"])
        before = commits(outbox)
        outbox.settle("a", [seq])
        await asyncio.sleep(0.01)
        assert commits(outbox) == before
        await append_one(outbox, make(), ["a"])

        assert commits(outbox) == before + 1
        assert outbox.counts().pending == {"a": 1}


async def test_events_that_are_settled_soon_after_their_commit_do_not_wake_the_thread(path, monkeypatch):
    monkeypatch.setattr(writer_module, "LINGER", 0.5)  # a machine may be slow
    async with opened(path) as outbox:
        writer, rung = outbox._writer, []
        ring = writer._ring
        monkeypatch.setattr(writer, "_ring", lambda: (rung.append(1), ring()))
        seqs = [await append_one(outbox, make(), ["a"]) for _ in range(2)]
        before = len(rung)
        outbox.settle("a", seqs[:1])
        assert len(rung) == before
        await until(lambda: outbox.counts().pending == {"a": 1})
        await until(lambda: writer._asleep)
        outbox.settle("a", seqs[1:])
        assert len(rung) == before + 1
        await until(lambda: outbox.counts().pending == {})


async def test_what_was_settled_does_not_wait_long_for_a_commit(path):
    async with opened(path) as outbox:
        seq = await append_one(outbox, make(), ["a"])
        outbox.settle("a", [seq])

        await until(lambda: outbox.counts().pending == {})


async def test_a_stream_of_settled_events_is_committed_while_it_flows(path):
    async with opened(path) as outbox:
        seqs = await outbox.append([(make(n), ["a"]) for n in range(200)])
        for seq in seqs[:-1]:
            outbox.settle("a", [seq])
            await asyncio.sleep(0.001)

        assert outbox.counts().pending["a"] < 150


async def test_what_was_settled_is_written_on_closing(path, monkeypatch):
    monkeypatch.setattr(settled_module, "LINGER", 60.0)
    async with opened(path) as outbox:
        outbox.settle("a", [await append_one(outbox, make(), ["a"])])

    async with opened(path) as outbox:
        assert outbox.counts().pending == {}


# ---- one bad job


async def test_a_job_that_fails_does_not_fail_its_neighbours(path):
    async with opened(path) as outbox:
        results = await asyncio.gather(
            append_one(outbox, make(1), ["a"]),
            append_one(outbox, make(2), ["a", "a"]),
            append_one(outbox, make(3), ["a"]),
            outbox.dead_letter("a", 999, "no", "poison", 1),
            outbox._run(lambda store: store.connection.execute("INSERT INTO segments VALUES (1, NULL, 0, '', '')")),
            append_one(outbox, make(4, headers={"n": 1}), ["new"]),
            return_exceptions=True,
        )

        assert [type(result) for result in results] == [
            int,
            BadEvent,
            int,
            NotInOutbox,
            sqlite3.IntegrityError,
            int,
        ]
        assert await bodies(outbox) == [b"1", b"3"]
        assert await bodies(outbox, "new") == [b"4"]
        assert outbox.counts().pending == {"a": 2, "new": 1}


# ---- a disk that fails


@pytest.mark.parametrize("at", ["BEGIN", "INSERT", "COMMIT"])
@pytest.mark.parametrize("message", ["disk I/O error", "database or disk is full", "database is locked"])
async def test_a_disk_that_fails_fails_the_append_and_the_next_works_once_it_is_mended(path, disk, at, message):
    async with opened(path) as outbox:
        await append_one(outbox, make(1), ["a"])
        disk.fail(message, (at,))
        results = await asyncio.gather(*(append_one(outbox, make(), ["a"]) for _ in range(5)), return_exceptions=True)
        assert [type(result) for result in results] == [StorageError] * 5
        assert message in str(results[0])
        assert str(path) in str(results[0])
        disk.mend()
        await append_one(outbox, make(2), ["a"])

        assert await bodies(outbox) == [b"1", b"2"]
        held = outbox.counts()
    async with opened(path) as outbox:
        assert outbox.counts() == held
        assert await bodies(outbox) == [b"1", b"2"]


async def test_a_file_that_may_not_grow_is_a_clear_error_until_it_may(path):
    async with opened(path) as outbox:
        await append_one(outbox, make(1), ["a"])
        await outbox._run(lambda store: store.connection.execute("PRAGMA max_page_count = 20").fetchall())
        with pytest.raises(StorageError, match="database or disk is full; free some space"):
            await append_one(outbox, make(b"x" * 200_000), ["a"])
        await append_one(outbox, make(2), ["a"])
        await outbox._run(lambda store: store.connection.execute("PRAGMA max_page_count = 100000").fetchall())
        await append_one(outbox, make(b"x" * 200_000), ["a"])

        assert [len(body) for body in await bodies(outbox)] == [1, 1, 200_000]


async def test_after_an_io_error_the_file_is_opened_anew(path, disk):
    async with opened(path) as outbox:
        disk.fail()
        for _ in range(3):
            with pytest.raises(StorageError):
                await append_one(outbox, make(), ["a"])
        disk.mend()
        await append_one(outbox, make(), ["a"])

        assert disk.connections == 2


async def test_what_was_settled_while_the_disk_failed_is_struck_off_when_it_works(path, disk, caplog):
    async with opened(path) as outbox:
        seqs = await outbox.append([(make(n), ["a"]) for n in range(4)])
        disk.fail()
        outbox.settle("a", seqs[:2])
        await until(lambda: any("cannot be written" in line for line in caplog.messages))
        outbox.settle("a", seqs[2:3])
        disk.mend()
        await append_one(outbox, make(4), ["a"])

        assert await bodies(outbox) == [b"3", b"4"]
        assert sum("cannot be written" in line for line in caplog.messages) == 1
        assert sum("works again" in line for line in caplog.messages) == 1


async def test_what_was_settled_while_the_disk_failed_is_tried_again_by_itself(path, disk, caplog, monkeypatch):
    monkeypatch.setattr(settled_module, "RETRY", 0.02)
    async with opened(path) as outbox:
        seq = await append_one(outbox, make(), ["a"])
        disk.fail()
        outbox.settle("a", [seq])
        await until(lambda: any("cannot be written" in line for line in caplog.messages))
        disk.mend()

        await until(lambda: outbox.counts().pending == {})


async def test_a_dead_letter_that_cannot_be_written_leaves_the_event_pending(path, disk):
    async with opened(path) as outbox:
        seq = await append_one(outbox, make(1), ["a"])
        disk.fail(at=("INSERT INTO dead",))
        with pytest.raises(StorageError):
            await outbox.dead_letter("a", seq, "no", "poison", 1)
        with pytest.raises(StorageError):
            await outbox.dead_letter_event("b", make(2), "no", "poison", 1)
        disk.mend()

        assert await bodies(outbox) == [b"1"]
        assert await outbox.dead_letters() == []


async def test_an_outbox_whose_disk_fails_can_be_closed(path, disk):
    outbox = Outbox(path)
    outbox.open()
    seq = await append_one(outbox, make(), ["a"])
    disk.fail()
    outbox.settle("a", [seq])
    await asyncio.wait_for(outbox.close(), HANG)
    disk.mend()

    async with opened(path) as outbox:
        assert outbox.counts().pending == {"a": 1}


# ---- the end


async def test_closing_does_what_was_asked_before(path):
    outbox = Outbox(path)
    outbox.open()
    appends = [asyncio.create_task(append_one(outbox, make(n), ["a"])) for n in range(50)]
    await asyncio.sleep(0)
    await outbox.close()
    await asyncio.gather(*appends)

    async with opened(path) as outbox:
        assert len(await bodies(outbox)) == 50


async def test_the_log_is_written_back_on_closing(path):
    async with opened(path) as outbox:
        await append_one(outbox, make(), ["a"])
        assert path.with_name("outbox.db-wal").stat().st_size > 0

    assert not path.with_name("outbox.db-wal").exists()


async def test_closing_has_a_deadline_and_those_who_wait_get_an_error(path, disk):
    go, hung = threading.Event(), threading.Event()

    def hang(statement):
        if statement == "COMMIT":
            hung.set()
            go.wait(HANG)

    outbox = Outbox(path)
    outbox.open()
    disk.before = hang
    appends = [asyncio.create_task(append_one(outbox, make(n), ["a"])) for n in range(2)]
    await until(hung.is_set)
    appends.append(asyncio.create_task(append_one(outbox, make(2), ["a"])))
    await asyncio.sleep(0)
    with pytest.raises(StorageError, match=r"did not close within 0\.05 s"):
        await asyncio.wait_for(outbox.close(0.05), HANG)
    results = await asyncio.wait_for(asyncio.gather(*appends, return_exceptions=True), HANG)
    with pytest.raises(OutboxClosed):
        await append_one(outbox, make(), ["a"])

    go.set()
    await outbox.close(HANG)
    assert [type(result) for result in results] == [StorageError] * 3


async def test_two_tasks_may_close_at_once(path):
    outbox = Outbox(path)
    outbox.open()
    await asyncio.gather(outbox.close(), outbox.close())
    outbox.open()
    await outbox.close()


async def test_the_thread_ends_with_the_outbox(path):
    async with opened(path):
        assert any(thread.name == "evbus_like outbox" for thread in threading.enumerate())

    await until(lambda: not any(thread.name == "evbus_like outbox" for thread in threading.enumerate()))


async def test_a_thread_that_dies_of_a_bug_leaves_nobody_waiting(path, monkeypatch, caplog):
    async with opened(path) as outbox:
        monkeypatch.setattr(outbox._writer, "_take", lambda: 1 / 0)
        with pytest.raises(OutboxClosed):
            await append_one(outbox, make(), ["a"])
        with pytest.raises(OutboxClosed):
            await append_one(outbox, make(), ["a"])

        assert any("stops" in line for line in caplog.messages)


async def test_a_locked_file_fails_the_append_and_names_the_remedy(path, monkeypatch):
    monkeypatch.setattr("evbus_like.engine.outbox.connection.BUSY", 0.01)
    async with opened(path) as outbox:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="database is locked; another program keeps the file locked"):
            await append_one(outbox, make(1), ["a"])
        other.execute("ROLLBACK")
        other.close()
        await append_one(outbox, make(2), ["a"])

        assert await bodies(outbox) == [b"2"]

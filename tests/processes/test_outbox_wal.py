"""engine/outbox/wal.py: what SQLite would drop of a damaged log in silence is recovered, and what is lost is said."""

import asyncio
import os
import shutil
import sqlite3
from contextlib import closing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evbus_like.engine.outbox import Outbox
from evbus_like.engine.outbox.inspect import summarize
from evbus_like.engine.outbox.wal import read_index
from tests.unit.outboxes import append_one, make, opened

COUNT = 60
HEADER, FRAME = 32, 4120
FILES = ("outbox.db", "outbox.db-wal", "outbox.db-shm", "outbox.db.lock")


@pytest.fixture(scope="module")
def killed_once(tmp_path_factory):
    """The files of an outbox as a kill leaves them, all events in the log; copied while it is open."""
    folder = tmp_path_factory.mktemp("killed")

    async def fill():
        async with opened(folder / "open" / "outbox.db") as outbox:
            for n in range(COUNT):
                await append_one(outbox, make(body(n)), ["a"])
            for name in FILES:
                shutil.copy(folder / "open" / name, folder / name)

    asyncio.run(fill())
    return folder


@pytest.fixture
def path(killed_once, tmp_path):
    copy_files(killed_once, tmp_path)
    return tmp_path / "outbox.db"


def copy_files(source, target):
    for name in FILES:
        shutil.copy(source / name, target / name)


def body(n):
    return b"%d " % n + b"x" * (n * 97 % 900)


def wal(path):
    return path.with_name("outbox.db-wal")


def shm(path):
    return path.with_name("outbox.db-shm")


def flip(file, at, bit=1):
    data = bytearray(file.read_bytes())
    data[at] ^= bit
    file.write_bytes(data)


async def recovered(path):
    """Open, read and close an outbox: what was recovered, and the bodies."""
    outbox = Outbox(path)
    found = outbox.open()
    try:
        return found, [event.body for _, event in await outbox.page("a", 0, 10_000, 10**9)]
    finally:
        await outbox.close()


ALL = [body(n) for n in range(COUNT)]


async def test_a_log_that_a_kill_left_is_read_without_a_report(path):
    assert await recovered(path) == (None, ALL)


@pytest.mark.parametrize("index", [True, False], ids=["with the index", "without the index"])
@pytest.mark.parametrize(
    "place",
    {
        "magic": 0,
        "salts of the header": 18,
        "checksum of the header": 25,
        "page number": HEADER + 30 * FRAME + 3,
        "salts": HEADER + 30 * FRAME + 12,
        "checksum": HEADER + 30 * FRAME + 20,
        "page": HEADER + 30 * FRAME + 24 + 3000,
    }.items(),
    ids=lambda place: place[0],
)
async def test_one_wrong_bit_in_the_log_is_reported_and_costs_no_event_behind_it(path, place, index):
    flip(wal(path), place[1])
    if not index:
        shm(path).unlink()

    found, bodies = await recovered(path)

    assert bodies == ALL
    assert "log is damaged" in str(found)
    assert str(found.moved_to) in str(found)


async def test_the_last_event_of_the_log_is_reported_when_it_is_damaged(path):
    data = wal(path).read_bytes()
    flip(wal(path), data.index(b"59 xxxx", len(data) - FRAME) + 50)

    found, bodies = await recovered(path)

    assert ALL[: len(bodies)] == bodies
    assert found.damaged == COUNT - len(bodies) == 1


@pytest.mark.parametrize("cut", [0, 20, HEADER, HEADER + 20 * FRAME, HEADER + 40 * FRAME + 77])
async def test_a_log_that_was_cut_is_reported_with_the_bytes_that_are_missing(path, cut):
    os.truncate(wal(path), cut)

    found, bodies = await recovered(path)

    assert bodies == ALL[: len(bodies)]
    assert found.unread > 0
    assert f"{found.unread} bytes cannot be read or are missing" in str(found)


@pytest.mark.parametrize("index", [True, False], ids=["with the index", "without the index"])
async def test_a_log_that_is_gone_is_reported(path, index):
    wal(path).unlink()
    if not index:
        shm(path).unlink()

    found, bodies = await recovered(path)

    assert bodies == []
    assert "log is missing" in str(found)


@pytest.mark.parametrize("cut", [0, 20, HEADER, HEADER + FRAME - 1, HEADER + 40 * FRAME])
async def test_a_log_of_which_nobody_knows_the_length_is_reported(path, cut):
    os.truncate(wal(path), cut)
    shm(path).write_bytes(os.urandom(32768))

    found, _ = await recovered(path)

    assert "nobody can tell whether the log is complete" in str(found)


CUT_INDEXES = {
    "empty": b"",
    "short": bytes(100),
    "less": bytes(20_000),
    "zeros": bytes(4096) + b"x" * 28_672,
    "missing": None,
}


@pytest.mark.parametrize("index", CUT_INDEXES.values(), ids=list(CUT_INDEXES))
async def test_a_log_and_an_index_that_are_both_cut_or_zeroed_are_reported(path, index):
    os.truncate(wal(path), 0)
    if index is None:
        shm(path).unlink()
    else:
        shm(path).write_bytes(index)

    found, _ = await recovered(path)

    assert "nobody can tell whether the log is complete" in str(found)


async def test_an_index_of_garbage_harms_nothing(path):
    shm(path).write_bytes(os.urandom(32768))

    assert (await recovered(path))[1] == ALL


@pytest.mark.parametrize("index", [True, False], ids=["with the index", "without the index"])
async def test_an_older_log_is_not_read(tmp_path, index):
    folder = tmp_path / "open"
    async with opened(folder / "outbox.db") as outbox:
        seqs = [await append_one(outbox, make(n), ["a"]) for n in range(20)]
        older = wal(folder / "outbox.db").read_bytes()
        outbox.settle("a", seqs)
        await outbox.flush()
        with closing(sqlite3.connect(folder / "outbox.db")) as connection:
            connection.execute("PRAGMA wal_checkpoint(RESTART)")
        for n in range(20, 300):
            await append_one(outbox, make(b"%d" % n + b"y" * 3000), ["a"])
        with closing(sqlite3.connect(folder / "outbox.db")) as connection:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        copy_files(folder, tmp_path)
    path = tmp_path / "outbox.db"
    wal(path).write_bytes(older)
    if not index:
        shm(path).unlink()

    found, bodies = await recovered(path)

    if index:
        assert "its log was replaced by an older one" in found.reason
        assert bodies == [b"%d" % n + b"y" * 3000 for n in range(20, 300)]
    else:
        assert "nobody can tell whether the log is complete" in found.reason


async def test_a_log_of_another_file_replaces_nothing_and_what_it_holds_is_recovered(path, tmp_path):
    other = tmp_path / "other" / "outbox.db"
    async with opened(other) as outbox:
        for n in range(100, 110):
            await append_one(outbox, make(n), ["a"])
    shutil.copy(other, path)

    found, bodies = await recovered(path)

    assert "its log belongs to another file" in str(found)
    assert {b"%d" % n for n in range(100, 110)} <= set(bodies)


async def test_a_look_at_a_damaged_log_leaves_the_start_to_notice_it(path):
    os.truncate(wal(path), HEADER + 20 * FRAME)
    assert summarize(path).waiting["a"] < COUNT

    found, _ = await recovered(path)

    assert found.unread > 0


async def test_a_write_that_a_crash_tore_is_no_damage(path):
    with wal(path).open("ab") as file:
        file.write(os.urandom(5000))

    assert await recovered(path) == (None, ALL)


async def test_a_file_that_is_gone_or_empty_is_reported_with_what_it_held(path):
    async with opened(path):
        pass
    os.truncate(path, 0)
    found, bodies = await recovered(path)
    assert (bodies, f"{COUNT} events and 0 dead letters that it held are lost" in str(found)) == ([], True)

    assert (await recovered(path))[0] is None


def test_an_index_says_how_many_frames_were_committed(killed_once):
    frames = (wal(killed_once / "outbox.db").stat().st_size - HEADER) // FRAME

    assert read_index(shm(killed_once / "outbox.db")).frames == frames


damage = st.lists(
    st.tuples(
        st.sampled_from(["-wal", "-shm", ""]), st.sampled_from(["flip", "zero", "cut", "swap"]), st.floats(0, 0.9999)
    ),
    min_size=1,
    max_size=3,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damage)
async def test_whatever_is_damaged_no_body_is_wrong_and_no_loss_is_silent(killed_once, tmp_path, steps):
    copy_files(killed_once, tmp_path)
    for suffix, how, share in steps:
        file = tmp_path / f"outbox.db{suffix}"
        data = bytearray(file.read_bytes())
        at = int(share * len(data))
        if how == "flip" and data:
            data[at] ^= 1 << at % 8
        elif how == "zero":
            data[at : at + 3000] = bytes(len(data[at : at + 3000]))
        elif how == "cut":
            del data[at:]
        elif len(data) > 2 * FRAME:
            middle = len(data) // 2
            data = data[middle:] + data[:middle]
        file.write_bytes(data)

    found, bodies = await recovered(tmp_path / "outbox.db")

    assert set(bodies) <= set(ALL)
    assert found is not None or bodies == ALL

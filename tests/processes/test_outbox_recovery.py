"""engine/outbox/recovery.py: torn, garbled and foreign files; the bus starts, and nothing is thrown away."""

import asyncio
import os
import random
import shutil
import sqlite3

import pytest

from evbus_like.engine.outbox import NewerOutbox, Outbox, StorageError
from evbus_like.engine.outbox import recovery as recovery_module
from evbus_like.engine.outbox.inspect import summarize
from evbus_like.engine.outbox.lock import lock_path
from evbus_like.engine.outbox.schema import BEFORE, VERSION
from tests.unit.outboxes import append_one, bodies, content, make, opened

COUNT = 400


@pytest.fixture
def path(tmp_path):
    return tmp_path / "outbox.db"


@pytest.fixture(scope="module")
def filled_once(tmp_path_factory):
    """An outbox with events and dead letters, all of it in the main file; gives the file and the events."""
    path = tmp_path_factory.mktemp("filled") / "outbox.db"
    return path, asyncio.run(fill(path))


@pytest.fixture
def filled(path, filled_once):
    """A copy of that outbox; gives the events."""
    file, events = filled_once
    shutil.copy(file, path)
    shutil.copy(lock_path(file), lock_path(path))
    return events


async def fill(path):
    events = [make(b"%d " % n + b"x" * (9000 if n % 50 == 0 else 300), headers={"n": n}) for n in range(COUNT)]
    async with opened(path) as outbox:
        await outbox.append([(event, ["a", "b"] if n % 4 == 0 else ["a"]) for n, event in enumerate(events)])
        for n in range(20):
            await outbox.dead_letter_event("c", make(b"dead %d" % n + b"y" * 200), "no", "poison", 1)
    return events


async def crashed(path, tmp_path, appends):
    """An outbox as a crash leaves it, all of it in the log: the file and its log are copied while it is open."""
    async with opened(tmp_path / "other.db") as outbox:
        for n in range(appends):
            await append_one(outbox, make(n), ["a"])
        for suffix in ("", "-wal"):
            shutil.copy(tmp_path / f"other.db{suffix}", path.with_name(path.name + suffix))


def asides(path):
    return sorted(each for each in path.parent.iterdir() if ".corrupt-" in each.name)


async def open_and_use(path):
    """Open a damaged outbox, see that it works and goes on to after a restart, and give what was recovered."""
    outbox = Outbox(path)
    recovered = outbox.open()
    try:
        page = await outbox.page("a", 0, 10_000, 10**9)
        for destination in ("a", "b", "c"):
            await append_one(outbox, make(b"new"), [destination])
        counts = outbox.counts()
    finally:
        await outbox.close()
    async with opened(path) as again:
        assert again.counts() == counts
        assert (await bodies(again, "a", page[-1][0] if page else 0))[-1] == b"new"
    return recovered, page, counts


async def test_a_sound_file_is_opened_without_a_report(path, filled):
    recovered, page, _ = await open_and_use(path)

    assert recovered is None
    assert [content(event) for _, event in page] == [content(event) for event in filled]
    assert asides(path) == []


@pytest.mark.parametrize("seed", range(12))
async def test_of_a_truncated_file_what_is_left_is_recovered(path, filled, seed):
    size = path.stat().st_size
    left = random.Random(seed).randrange(1, size)
    os.truncate(path, left)
    torn = path.read_bytes()

    recovered, page, counts = await open_and_use(path)

    originals = {event.id: content(event) for event in filled}
    assert all(content(event) == originals[event.id] for _, event in page)
    assert [event.id for _, event in page] == [event.id for event in filled if event.id in {e.id for _, e in page}]
    assert recovered is not None
    assert recovered.moved_to.read_bytes() == torn
    assert recovered.events == len(page)
    assert recovered.dead == counts.dead
    assert recovered.events > COUNT * (left - 40_000) / size * 0.9 - 20  # the first pages hold none
    assert str(recovered.moved_to) in str(recovered)


async def test_one_bad_page_costs_what_is_on_it_and_no_more(path, filled):
    data = bytearray(path.read_bytes())
    place = data.index(b"200 xxxx") // 4096 * 4096  # a page full of events
    data[place : place + 4096] = os.urandom(4096)
    path.write_bytes(data)

    recovered, page, counts = await open_and_use(path)

    assert COUNT - 20 < recovered.events < COUNT
    assert counts.dead == 20
    assert len(page) == recovered.events


async def test_one_bad_page_costs_a_batch_of_events_what_is_on_it_and_no_more(path):
    async with opened(path) as outbox:
        await outbox.append([(make(b"%d " % n + b"x" * 300), ["a"]) for n in range(COUNT)])
    data = bytearray(path.read_bytes())
    place = data.index(b"200 xxxx") // 4096 * 4096
    data[place : place + 4096] = os.urandom(4096)
    path.write_bytes(data)

    recovered, page, _ = await open_and_use(path)

    assert COUNT - 12 <= recovered.events == len(page) < COUNT
    assert [seq for seq, _ in page] == [int(event.body.split()[0]) + 1 for _, event in page]


async def test_the_intact_records_of_a_damaged_segment_are_recovered(path):
    async with opened(path) as outbox:
        seqs = await outbox.append([(make(b"body %d." % n), ["a", "b"]) for n in range(30)])
        outbox.settle("a", seqs[:20])
    data = path.read_bytes().replace(b"body 5.", b"bodx 5.").replace(b"body 25.", b"bodx 25.")
    path.write_bytes(data[:60] + b"\xff\x3f\x7f\x12" + data[64:])

    outbox = Outbox(path)
    recovered = outbox.open()
    for name, left in (("a", seqs[20:]), ("b", seqs)):
        page = await outbox.page(name)
        assert [(seq, event.body) for seq, event in page] == [
            (seq, b"body %d." % n) for n, seq in enumerate(seqs) if n not in (5, 25) and seq in left
        ]
    await outbox.close()
    assert (recovered.events, recovered.again) == (28, 0)


@pytest.mark.parametrize("seed", range(12))
async def test_garbage_anywhere_never_keeps_the_bus_from_starting(path, filled, seed):
    draw = random.Random(seed)
    data = bytearray(path.read_bytes())
    for _ in range(draw.randrange(1, 6)):
        place = draw.randrange(100, len(data) - 600)
        data[place : place + draw.randrange(1, 600)] = draw.randbytes(draw.randrange(1, 600))
    path.write_bytes(data)

    await open_and_use(path)


@pytest.mark.parametrize("length", [16, 100, 4096])
async def test_a_garbled_header_is_moved_aside(path, filled, length):
    data = bytearray(path.read_bytes())
    data[:length] = random.Random(1).randbytes(length)
    path.write_bytes(data)

    recovered, _, _ = await open_and_use(path)

    assert recovered.moved_to.read_bytes() == bytes(data)
    assert recovered.moved_to.stat().st_mode & 0o077 == 0
    assert asides(path) == [recovered.moved_to]


async def test_a_version_that_cannot_be_is_damage_and_all_is_recovered(path, filled):
    data = bytearray(path.read_bytes())
    data[60:64] = b"\xff\x3f\x7f\x12"  # where the header has the version
    path.write_bytes(data)

    recovered, page, _ = await open_and_use(path)

    assert (recovered.events, recovered.dead, recovered.again) == (COUNT, 20, 0)
    assert [content(event) for _, event in page] == [content(event) for event in filled]


async def test_events_whose_progress_cannot_be_read_go_to_all_their_destinations_again(path, filled):
    connection = sqlite3.connect(path)
    connection.execute("DROP TABLE done")
    connection.close()

    recovered, page, counts = await open_and_use(path)

    assert (recovered.events, recovered.dead, recovered.again) == (COUNT, 20, COUNT)
    assert [content(event) for _, event in page] == [content(event) for event in filled]
    assert counts.pending == {"a": COUNT + 1, "b": COUNT // 4 + 1, "c": 1}
    assert "missing tables: done" in recovered.reason
    assert f"{COUNT} of the events are sent to all their destinations again" in str(recovered)


async def test_an_event_that_a_destination_has_is_not_sent_to_it_again_where_that_can_be_read(path, filled):
    async with opened(path) as outbox:
        outbox.settle("b", [seq for seq, _ in await outbox.page("b")])
    data = bytearray(path.read_bytes())
    data[60:64] = b"\xff\x3f\x7f\x12"
    path.write_bytes(data)

    _, _, counts = await open_and_use(path)

    assert counts.pending == {"a": COUNT + 1, "b": 1, "c": 1}


@pytest.mark.parametrize("change", ["bits = bits | 1 << 61", "bits = bits & ~1", "bits = -1", "destination = 0"])
async def test_a_mark_that_was_damaged_makes_no_event_delivered(path, filled, change):
    async with opened(path) as outbox:
        outbox.settle("b", [seq for seq, _ in (await outbox.page("b"))[:1]])
    connection = sqlite3.connect(path, isolation_level=None)
    changed = connection.execute(f"UPDATE done SET {change}").rowcount
    connection.close()

    recovered, _, counts = await open_and_use(path)

    assert changed == 1
    assert "1 rows cannot have been written" in recovered.reason
    assert counts.pending == {"a": COUNT + 1, "b": COUNT // 4 + 1, "c": 1}


@pytest.mark.parametrize("version", BEFORE)
async def test_a_file_of_a_version_before_is_used_as_it_is(path, filled, version):
    async with opened(path) as outbox:
        outbox.settle("b", [seq for seq, _ in (await outbox.page("b"))[:1]])
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("DROP TABLE scheduled")
    if version == BEFORE[0]:
        connection.execute("ALTER TABLE done DROP COLUMN sum")
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    assert summarize(path).scheduled == 0

    recovered, page, counts = await open_and_use(path)

    assert recovered is None
    assert [content(event) for _, event in page] == [content(event) for event in filled]
    assert counts.pending == {"a": COUNT + 1, "b": COUNT // 4, "c": 1}


async def test_the_names_of_destinations_are_with_each_segment(path, filled):
    connection = sqlite3.connect(path)
    connection.execute("DROP TABLE routes")
    connection.close()

    _, _, counts = await open_and_use(path)

    assert counts.pending == {"a": COUNT + 1, "b": COUNT // 4 + 1, "c": 1}


async def test_events_whose_destination_has_lost_its_name_are_kept(path, filled):
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("DROP TABLE routes")
    connection.execute("UPDATE segments SET destinations = 'rubbish'")
    connection.close()

    _, _, counts = await open_and_use(path)

    assert sorted(counts.pending.values()) == [1, 1, 1, 100, 300]
    assert sum(name.startswith("unknown-") for name in counts.pending) == 2


@pytest.mark.parametrize("text", [b"hello, this is no database\n" * 10, b"SQLite format 3\x00"])
async def test_a_file_that_never_was_an_outbox_is_refused_and_left_alone(path, text):
    path.write_bytes(text)
    path.chmod(0o644)
    before = path.stat()

    with pytest.raises(StorageError, match="is not an outbox, nor a damaged one"):
        Outbox(path).open()

    assert path.read_bytes() == text
    assert (path.stat().st_mode, path.stat().st_mtime_ns) == (before.st_mode, before.st_mtime_ns)
    assert [each.name for each in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("text", [b"hello, this is no database\n" * 10, b"SQLite format 3\x00"])
async def test_a_file_of_rubbish_where_an_outbox_was_is_moved_aside(path, text):
    async with opened(path):
        pass
    path.write_bytes(text)

    recovered, page, _ = await open_and_use(path)

    assert (recovered.events, recovered.dead, page) == (0, 0, [])
    assert recovered.moved_to.read_bytes() == text


async def test_an_empty_file_is_a_new_outbox(path):
    path.touch()

    assert (await open_and_use(path))[0] is None


async def test_after_a_crash_the_log_is_read(path, tmp_path):
    await crashed(path, tmp_path, 30)

    recovered, page, _ = await open_and_use(path)

    assert recovered is None
    assert [event.body for _, event in page] == [b"%d" % n for n in range(30)]


@pytest.mark.parametrize("seed", range(12))
async def test_of_a_truncated_log_the_first_commits_are_left(path, tmp_path, seed):
    await crashed(path, tmp_path, 30)
    wal = path.with_name(path.name + "-wal")
    os.truncate(wal, random.Random(seed).randrange(wal.stat().st_size))

    _, page, _ = await open_and_use(path)

    assert [event.body for _, event in page] == [b"%d" % n for n in range(len(page))]


async def test_what_is_only_in_the_log_of_an_emptied_file_is_not_deleted(path, tmp_path):
    await crashed(path, tmp_path, 30)
    os.truncate(path, 0)

    _, page, _ = await open_and_use(path)

    assert len(page) == 30 or any(each.stat().st_size for each in asides(path) if each.name.endswith("-wal"))


async def test_a_log_without_its_file_is_not_deleted(path, tmp_path):
    await crashed(path, tmp_path, 30)
    path.unlink()

    _, page, _ = await open_and_use(path)

    assert len(page) == 30 or any(each.stat().st_size for each in asides(path) if each.name.endswith("-wal"))


async def test_damage_twice_in_a_second_is_kept_twice(path):
    lock_path(path).touch()
    for text in (b"one", b"two"):
        path.write_bytes(text)
        outbox = Outbox(path)
        assert outbox.open() is not None
        await outbox.close()

    assert sorted(each.read_bytes() for each in asides(path)) == [b"one", b"two"]


# ---- crashes while recovering


class Crash(BaseException):
    pass


@pytest.mark.parametrize("step", range(8))
async def test_a_crash_at_any_step_of_a_recovery_loses_nothing(path, filled, monkeypatch, step):
    data = bytearray(path.read_bytes())
    data[60:64] = b"\xff\x3f\x7f\x12"
    path.write_bytes(data)
    path.with_name(path.name + "-wal").write_bytes(b"")
    path.with_name(path.name + "-shm").write_bytes(b"")
    left = step

    def crash_then(real):
        def call(*args):
            nonlocal left
            if left == 0:
                raise Crash
            left -= 1
            return real(*args)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(recovery_module, "salvage", crash_then(recovery_module.salvage))
        patch.setattr(os, "rename", crash_then(os.rename))
        patch.setattr(os, "fsync", crash_then(os.fsync))
        outbox = Outbox(path)
        try:
            outbox.open()
        except Crash:
            pass
        else:
            await outbox.close()

    _, page, counts = await open_and_use(path)

    assert [content(event) for _, event in page] == [content(event) for event in filled]
    assert counts.dead == 20


async def test_half_of_a_new_file_is_thrown_away_while_the_old_one_is_there(path, filled):
    path.with_name("outbox.db.recovering").write_bytes(b"half")

    recovered, page, _ = await open_and_use(path)

    assert recovered is None
    assert len(page) == COUNT
    assert not path.with_name("outbox.db.recovering").exists()


# ---- what is not ours to touch


async def test_a_later_version_is_refused_and_left_alone(path, filled):
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    before = path.read_bytes()

    newer = f"has version {VERSION + 1}, and this release of evbus_like knows version {VERSION}"
    with pytest.raises(NewerOutbox, match=newer):
        Outbox(path).open()

    assert path.read_bytes() == before
    assert asides(path) == []


async def test_a_database_of_another_program_is_refused_and_left_alone(path):
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE customers (name)")
    connection.close()
    before = path.read_bytes()

    with pytest.raises(NewerOutbox, match=r"another program \(tables customers\)"):
        Outbox(path).open()

    assert path.read_bytes() == before


async def test_a_disk_that_cannot_be_read_is_no_damage(path, filled, monkeypatch):
    def fail(path):
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_READ
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(recovery_module, "connect_readonly", fail)
        with pytest.raises(StorageError, match="cannot be opened: disk I/O error"):
            Outbox(path).open()

    assert asides(path) == []
    assert (await open_and_use(path))[0] is None


async def test_no_room_for_a_recovery_is_an_error_that_leaves_the_file_alone(path, filled, monkeypatch):
    def full(path, new, log):
        raise sqlite3.OperationalError("database or disk is full")

    os.truncate(path, path.stat().st_size // 2)
    with monkeypatch.context() as patch:
        patch.setattr(recovery_module, "salvage", full)
        with pytest.raises(StorageError, match="disk is full"):
            Outbox(path).open()
    assert asides(path) == []

    recovered, _, _ = await open_and_use(path)
    assert recovered.events > 0

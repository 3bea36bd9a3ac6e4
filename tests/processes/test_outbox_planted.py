"""engine/outbox/files.py: what somebody planted where an outbox is to be is neither used nor changed."""

import os
import socket
import sqlite3
import stat

import pytest

from evbus_like.engine.files import UnsafeFile, open_own, read_own
from evbus_like.engine.outbox import NewerOutbox, Outbox, OutboxLocked, StorageError
from evbus_like.engine.outbox.lock import holder
from tests.processes.test_outbox_lock import HOLD
from tests.unit.outboxes import append_one, bodies, make, opened, spawn

PLACES = ("", ".lock", "-wal", "-shm", "-journal", ".recovering")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "outbox.db"


@pytest.fixture
def victim(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    victim.chmod(0o644)
    return victim


def untouched(victim):
    return victim.read_text() == "precious" and stat.S_IMODE(victim.stat().st_mode) == 0o644


@pytest.mark.parametrize("place", PLACES)
def test_a_planted_link_is_refused_and_its_target_untouched(path, victim, place):
    link = path.with_name(path.name + place)
    link.symlink_to(victim)

    with pytest.raises(StorageError, match=f"{link.name} is a symbolic link"):
        Outbox(path).open()

    assert link.is_symlink()
    assert untouched(victim)


@pytest.mark.parametrize("place", PLACES)
def test_a_planted_link_to_nothing_is_refused_and_nothing_is_made(path, tmp_path, place):
    path.with_name(path.name + place).symlink_to(tmp_path / "nothing")

    with pytest.raises(StorageError, match="is a symbolic link"):
        Outbox(path).open()

    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("place", PLACES)
def test_another_name_of_a_file_is_refused_and_the_file_untouched(path, victim, place):
    path.with_name(path.name + place).hardlink_to(victim)

    with pytest.raises(StorageError):
        Outbox(path).open()

    assert untouched(victim)


def make_socket(path):
    os.chdir(path.parent)  # the name of a socket is short
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", ["a folder", "a FIFO", "a socket"])
def test_what_is_no_file_is_refused_at_once(path, monkeypatch, kind, place):
    monkeypatch.chdir(path.parent)
    {"a folder": os.mkdir, "a FIFO": os.mkfifo, "a socket": make_socket}[kind](path.with_name(path.name + place))

    with pytest.raises(StorageError, match=f"is {kind}, not a file"):
        Outbox(path).open()


@pytest.mark.parametrize("text", [b"a letter\n" * 100, b"x", b"SQLite format 3\0", b"PK\3\4" + bytes(5000)])
def test_a_file_of_another_program_is_refused_and_left_as_it_is(path, text):
    path.write_bytes(text)
    path.chmod(0o644)

    with pytest.raises(StorageError, match="is not an outbox"):
        Outbox(path).open()

    assert path.read_bytes() == text
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert os.listdir(path.parent) == [path.name]


def test_a_database_of_another_program_is_refused_and_left_as_it_is(path):
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE customers (name)")
    connection.close()
    path.chmod(0o644)
    before = path.read_bytes()

    with pytest.raises(NewerOutbox, match=r"another program \(tables customers\)"):
        Outbox(path).open()

    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (before, 0o644)
    assert os.listdir(path.parent) == [path.name]


def test_a_folder_that_everybody_may_write_to_is_refused_unless_it_is_like_tmp(path):
    path.parent.chmod(0o777)
    with pytest.raises(StorageError, match="may be written to by every user"):
        Outbox(path).open()

    path.parent.chmod(0o1777)
    outbox = Outbox(path)
    outbox.open()
    outbox._writer.store.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file away")
@pytest.mark.parametrize("place", PLACES)
def test_a_file_of_another_user_is_refused(path, place):
    file = path.with_name(path.name + place)
    file.touch()
    os.chown(file, 65534, 65534)

    with pytest.raises(StorageError, match="belongs to user 65534"):
        Outbox(path).open()


async def test_a_damaged_file_is_moved_to_a_name_that_is_free_though_a_link_is_planted_there(path, victim, monkeypatch):
    async with opened(path) as outbox:
        await append_one(outbox, make(1), ["a"])
    path.write_bytes(b"rubbish")
    first = Outbox(path)
    moved = first.open().moved_to
    await first.close()
    assert moved.read_bytes() == b"rubbish"

    path.write_bytes(b"again")
    moved.unlink()
    moved.symlink_to(victim)
    second = Outbox(path)
    again = second.open().moved_to
    await second.close()

    assert again.read_bytes() == b"again"
    assert untouched(victim)


def test_a_safe_file_is_read_and_a_new_one_is_private(tmp_path):
    os.close(open_own(tmp_path / "new", os.O_RDWR | os.O_CREAT))
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o600
    assert read_own(tmp_path / "new") == b""
    assert read_own(tmp_path / "missing") is None
    with pytest.raises(UnsafeFile):
        read_own(tmp_path)


# ---- the lock belongs to the file


async def test_a_removed_lock_file_does_not_let_a_second_process_in(path):
    process = await spawn(HOLD, path)
    assert await process.stdout.readline() == b"open\n"
    path.with_name("outbox.db.lock").unlink()

    with pytest.raises(OutboxLocked, match=f"in use by process {process.pid}; stop that process") as caught:
        Outbox(path).open()
    assert caught.value.pid == holder(path) == process.pid
    with pytest.raises(OutboxLocked):  # the lock file of the attempt changes nothing
        Outbox(path).open()

    process.kill()
    await process.communicate()
    async with opened(path) as outbox:
        assert await bodies(outbox) == [b"1"]


async def test_a_removed_lock_file_does_not_let_this_process_open_it_twice(path):
    async with opened(path) as outbox:
        path.with_name("outbox.db.lock").unlink()
        with pytest.raises(OutboxLocked):
            Outbox(path).open()
        assert await append_one(outbox, make(1), ["a"]) == 1

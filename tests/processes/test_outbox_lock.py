"""engine/outbox/lock.py and files.py: one process has the outbox, and only its user may read it."""

import asyncio
import os
import signal
import stat

import pytest

from evbus_like.engine.outbox import Outbox, OutboxLocked, StorageError
from evbus_like.engine.outbox.lock import holder
from evbus_like.hub import outbox_place
from evbus_like.testing import running
from tests.unit.fakes import HANG
from tests.unit.outboxes import append_one, bodies, make, opened, spawn

HOLD = """
    import asyncio, sys, time
    from evbus_like.engine.outbox import Outbox
    from tests.unit.outboxes import append_one, make

    async def main():
        outbox = Outbox(sys.argv[1])
        outbox.open()
        await append_one(outbox, make(1), ["a"])
        print("open", flush=True)
        await asyncio.sleep(60)

    asyncio.run(main())
"""
FORK = """
    import asyncio, gc, os, signal, sys
    from evbus_like.engine.outbox import Outbox, OutboxForked, OutboxLocked
    from tests.unit.outboxes import append_one, bodies, make

    async def child(outbox):
        for call in (lambda: append_one(outbox, make(), ["a"]), outbox.flush, lambda: outbox.page("a")):
            try:
                await call()
            except OutboxForked as error:
                assert "belongs to the process that forked this one" in str(error)
            else:
                raise AssertionError("the child used it")
        await outbox.close()
        try:
            Outbox(sys.argv[1]).open()
        except OutboxLocked as error:
            assert error.pid == os.getppid(), error
        else:
            raise AssertionError("the child took it")

    outbox = Outbox(sys.argv[1])
    outbox.open()
    asyncio.run(append_one(outbox, make(1), ["a"]))
    pid = os.fork()
    if pid == 0:
        asyncio.run(child(outbox))
        del outbox
        gc.collect()
        print("the child is done", flush=True)
        sys.exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status == 0, status
    asyncio.run(append_one(outbox, make(2), ["a"]))
    assert asyncio.run(bodies(outbox)) == [b"1", b"2"]
    keeper = os.fork()
    if keeper == 0:
        os.read(0, 1)  # lives on after its parent, until the test is done
        os._exit(0)
    print("the parent is done", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)  # at once
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "outbox.db"


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


async def test_only_its_user_may_read_the_files_and_the_folder_that_was_made(tmp_path):
    path = tmp_path / "one" / "two" / "outbox.db"
    previous = os.umask(0)
    try:
        async with opened(path) as outbox:
            await append_one(outbox, make(), ["a"])
            files = {each.name: mode(each) for each in path.parent.iterdir()}
    finally:
        os.umask(previous)

    assert files == dict.fromkeys(["outbox.db", "outbox.db-wal", "outbox.db-shm", "outbox.db.lock"], 0o600)
    assert (mode(path.parent), mode(path.parent.parent)) == (0o700, 0o700)


async def test_a_folder_that_exists_stays_as_it_is_and_a_file_is_taken_from_the_others(path):
    path.parent.chmod(0o755)
    path.touch(0o666)
    path.chmod(0o666)
    async with opened(path):
        assert mode(path.parent) == 0o755
        assert mode(path) == 0o600


async def test_a_second_outbox_of_this_process_is_refused(path):
    async with opened(path):
        with pytest.raises(OutboxLocked, match=rf"in use by this process \({os.getpid()}\)") as caught:
            Outbox(path).open()

    assert caught.value.pid == os.getpid()


async def test_another_name_for_the_file_is_the_same_outbox(path, tmp_path):
    (tmp_path / "folder").symlink_to(tmp_path)
    async with opened(path):
        (tmp_path / "link.db").hardlink_to(path)
        for name in ("folder/outbox.db", "link.db"):
            with pytest.raises(OutboxLocked, match=str(os.getpid())):
                Outbox(tmp_path / name).open()
    with pytest.raises(StorageError, match=r"link.db has 2 names \(hard links\)"):
        Outbox(tmp_path / "link.db").open()


async def test_a_second_process_is_refused_with_the_owner_s_pid_and_takes_it_after_a_kill(path):
    process = await spawn(HOLD, path)
    async with asyncio.timeout(HANG):
        assert await process.stdout.readline() == b"open\n"
        with pytest.raises(OutboxLocked, match=f"in use by process {process.pid}; stop that process") as caught:
            Outbox(path).open()
        assert caught.value.pid == process.pid == holder(path)

        process.send_signal(signal.SIGKILL)
        await process.communicate()

    assert path.with_name("outbox.db.lock").read_text() == f"{process.pid}\nopen\n"
    assert holder(path) is None
    async with opened(path) as outbox:
        assert await bodies(outbox) == [b"1"]
        assert holder(path) == os.getpid()
    assert holder(path) is None


async def test_a_forked_child_is_refused_and_harms_neither_the_file_nor_the_lock(path):
    process = await spawn(FORK, path)
    async with asyncio.timeout(HANG):
        output = b""
        while b"the parent is done" not in output:
            line = await process.stdout.readline()
            assert line, output.decode()
            output += line

    assert b"the child is done" in output
    async with opened(path) as outbox:
        assert await bodies(outbox) == [b"1", b"2"]
    process.stdin.close()
    await process.communicate()


async def test_the_lock_is_given_back_where_opening_fails(path):
    path.mkdir()
    with pytest.raises(StorageError, match="is a folder, not a file"):
        Outbox(path).open()
    path.rmdir()

    async with opened(path):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_a_file_without_permission_is_a_clear_error(tmp_path):
    tmp_path.chmod(0o700)
    os.seteuid(65534)
    try:
        for path in (tmp_path / "outbox.db", tmp_path / "new" / "outbox.db"):
            with pytest.raises(StorageError, match=r"cannot be opened: .*Permission denied.*permissions of the file"):
                Outbox(path).open()
    finally:
        os.seteuid(0)


def test_a_file_where_a_folder_should_be_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be opened"):
        Outbox(tmp_path / "file" / "outbox.db").open()


def test_nobody_holds_what_is_not_there(path):
    assert holder(path) is None


async def test_an_outbox_that_another_process_has_is_named_with_its_pid(package, monkeypatch, tmp_path):
    path = tmp_path / "evbus_like" / "shop" / "outbox.sqlite"
    source = """
        import evbus_like.handlers as evbus

        @evbus.handler("orders", "placed", dedup=3, dedup_durable=True)
        async def ship(hub, event): ...
    """
    monkeypatch.setenv("EVBUS_OUTBOX", "")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(outbox_place, "application", lambda hub: "shop")
    monkeypatch.syspath_prepend(package({"handler/shipping.py": source}))
    process = await spawn(HOLD, path)
    try:
        assert await process.stdout.readline() == b"open\n"
        async with running() as hub:
            with pytest.raises(OutboxLocked, match=str(process.pid)):
                await hub.evbus.handlers.start()
            assert hub.evbus.handlers.status() == {}
    finally:
        process.kill()
        await process.wait()

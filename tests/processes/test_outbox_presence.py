"""engine/outbox/presence.py: an outbox whose files are removed, moved or exchanged while it is open says so."""

import logging
import os
import shutil

import pytest

from evbus_like.engine.outbox import Outbox, StorageError
from evbus_like.engine.outbox import writer as writer_module
from tests.unit.fakes import until
from tests.unit.outboxes import append_one, bodies, make, opened


@pytest.fixture(autouse=True)
def looks_often(monkeypatch):
    monkeypatch.setattr(writer_module, "WATCH", 0.02)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "outbox.db"


def other_file(path):
    path.unlink()
    path.write_bytes(b"another")


def other_log(path):
    log = path.with_name("outbox.db-wal")
    shutil.copy(log, log.with_name("copy"))
    os.rename(log.with_name("copy"), log)


GONE = {
    "folder removed": (lambda path: shutil.rmtree(path.parent), "was removed or moved"),
    "folder renamed": (lambda path: path.parent.rename(path.parent.with_name("elsewhere")), "was removed or moved"),
    "file removed": (os.unlink, "was removed or moved"),
    "file exchanged": (other_file, "was replaced by another"),
    "log removed": (lambda path: path.with_name("outbox.db-wal").unlink(), "its log, .*, was removed"),
    "log exchanged": (other_log, "its log, .*, was replaced"),
    "no permissions": (lambda path: path.chmod(0), "permissions were taken away"),
}


@pytest.mark.parametrize("change", GONE)
async def test_a_put_after_the_files_are_gone_raises_and_says_why(path, change):
    do, message = GONE[change]
    async with opened(path) as outbox:
        await append_one(outbox, make(1), ["a"])
        do(path)
        with pytest.raises(StorageError, match=message):
            await append_one(outbox, make(2), ["a"])


async def test_that_files_are_gone_is_noticed_while_nothing_is_put(path, caplog):
    async with opened(path) as outbox:
        await append_one(outbox, make(1), ["a"])
        shutil.rmtree(path.parent)
        await until(lambda: outbox.counts().trouble)

        assert f"the outbox {path} cannot be written: the file, or its folder, was removed" in outbox.counts().trouble
    errors = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 1
    assert "1 events and 0 dead letters were in it" in errors[0]


async def test_a_folder_that_is_back_is_used_again_with_all_that_was_in_it(path):
    async with opened(path) as outbox:
        await append_one(outbox, make(1), ["a"])
        path.parent.rename(path.parent.with_name("elsewhere"))
        await until(lambda: outbox.counts().trouble)
        path.parent.with_name("elsewhere").rename(path.parent)
        await until(lambda: not outbox.counts().trouble)

        await append_one(outbox, make(2), ["a"])
        assert await bodies(outbox) == [b"1", b"2"]
    async with opened(path) as outbox:
        assert await bodies(outbox) == [b"1", b"2"]


@pytest.mark.parametrize("change", ["log removed", "log exchanged"])
async def test_a_log_that_is_gone_costs_one_put_and_no_event(path, change):
    async with opened(path) as outbox:
        await append_one(outbox, make(1), ["a"])
        GONE[change][0](path)
        with pytest.raises(StorageError):
            await append_one(outbox, make(2), ["a"])
        await append_one(outbox, make(3), ["a"])
        assert await bodies(outbox) == [b"1", b"3"]
    async with opened(path) as outbox:
        assert await bodies(outbox) == [b"1", b"3"]


async def test_the_next_start_makes_a_new_file_and_takes_events(path):
    outbox = Outbox(path)
    outbox.open()
    await append_one(outbox, make(1), ["a"])
    shutil.rmtree(path.parent)
    await outbox.close()

    async with opened(path) as again:
        await append_one(again, make(2), ["a"])
        assert await bodies(again) == [b"2"]


async def test_another_file_in_its_place_is_not_written_to(path):
    async with opened(path) as outbox:
        await append_one(outbox, make(1), ["a"])
        other_file(path)
        with pytest.raises(StorageError):
            await append_one(outbox, make(2), ["a"])

    assert path.read_bytes() == b"another"

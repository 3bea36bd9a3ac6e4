"""engine/outbox/inspect.py: another process looks into an outbox, and changes nothing."""

import os
import shutil

import pytest

from evbus_like.engine.outbox import DeadFilter, StorageError, inspect
from tests.unit.outboxes import append_one, content, make, opened


@pytest.fixture
def path(tmp_path):
    return tmp_path / "outbox.db"


async def fill(outbox):
    events = [make(n) for n in range(5)]
    seqs = [await append_one(outbox, event, ["a", "b"]) for event in events]
    await outbox.dead_letter("a", seqs[0], "no", "poison", 2)
    return events, seqs


async def test_a_summary_beside_the_bus_counts_pending_events_and_names_the_holder(path):
    async with opened(path) as outbox:
        events, _ = await fill(outbox)
        seen = inspect.summarize(path)
        [letter] = inspect.dead_letters(path, DeadFilter(destination="a"))

        assert (seen.holder, seen.waiting, seen.dead) == (os.getpid(), {"a": 4, "b": 5}, 1)
        assert {share.destination: share.dead for share in seen.shares} == {"a": 1, "b": 0}
        assert letter.event.body is None
        assert content(inspect.dead_letter(path, letter.number).event) == content(events[0])
        assert inspect.dead_letter(path, 99) is None


async def test_a_look_without_a_bus_says_that_nobody_has_it(path):
    async with opened(path) as outbox:
        await fill(outbox)

    assert inspect.summarize(path).holder is None
    assert inspect.summarize(path).waiting == {"a": 4, "b": 5}


async def test_a_look_at_what_a_crash_left_changes_neither_the_file_nor_its_log(path, tmp_path):
    async with opened(tmp_path / "other.db") as outbox:
        await fill(outbox)
        for suffix in ("", "-wal"):
            shutil.copy(tmp_path / f"other.db{suffix}", path.with_name(path.name + suffix))
    before = [path.with_name(path.name + suffix).read_bytes() for suffix in ("", "-wal")]
    assert before[1]

    assert inspect.summarize(path).waiting == {"a": 4, "b": 5}
    assert len(inspect.dead_letters(path)) == 1

    assert [path.with_name(path.name + suffix).read_bytes() for suffix in ("", "-wal")] == before
    async with opened(path) as outbox:
        assert outbox.counts().pending == {"a": 4, "b": 5}


async def test_the_bus_writes_while_somebody_looks(path):
    async with opened(path) as outbox:
        await fill(outbox)
        with inspect._reading(path) as (connection, _):
            count = "SELECT sum(count) FROM segments"
            assert connection.execute(count).fetchone() == (5,)
            await append_one(outbox, make(), ["a"])
            assert connection.execute(count).fetchone() == (5,)

        assert inspect.summarize(path).waiting["a"] == 5


async def test_the_bus_stops_while_somebody_looks(path):
    async with opened(path) as outbox:
        await fill(outbox)
        reading = inspect._reading(path)
        connection, _ = reading.__enter__()
        connection.execute("SELECT count(*) FROM segments").fetchone()
    reading.__exit__(None, None, None)

    async with opened(path) as outbox:
        assert outbox.counts().pending == {"a": 4, "b": 5}


def test_there_is_nothing_to_look_at(path):
    for _ in range(2):
        with pytest.raises(StorageError, match="there is no outbox at"):
            inspect.summarize(path)
        path.touch()
    path.write_bytes(b"garbage" * 1000)
    with pytest.raises(StorageError, match="cannot be read: file is not a database"):
        inspect.summarize(path)

"""The checks of the soak notice what is wrong; a soak that noticed nothing would always pass."""

import asyncio
import random

import pytest

from evbus_like.engine.outbox import Outbox
from tests.faults.soak.arrivals import Arrivals, reused_ids
from tests.faults.soak.ledger import Ledger
from tests.faults.soak.side_file import SideFile, SideFileReader, highest, recorded
from tests.faults.soak.wal import committed, cut_log, log_of, spoil_uncommitted
from tests.unit.outboxes import append_one, make, opened

P, K = "steady-durable-amqp", "steady-durable-amqp.eu"


def noted(*numbers):
    arrivals = Arrivals()
    for number in numbers:
        arrivals.note(K, number, f"id-{number}")
    return arrivals


def test_repeated_events_and_late_ones_are_counted_separately():
    arrivals = noted(0, 1, 1, 4, 3, 4)

    assert (arrivals.total("unique"), arrivals.total("repeats"), arrivals.total("late")) == (4, 2, 1)
    assert arrivals.missing({K: [0, 1, 2, 3, 4, 5]}) == [(K, 2), (K, 5)]


def test_a_number_with_two_ids_and_an_id_with_two_numbers_are_noticed():
    arrivals = noted(0, 1)
    arrivals.note(K, 1, "another id")
    arrivals.note(K, 2, "id-0")

    assert arrivals.total("other_ids") == 1
    assert reused_ids([arrivals]) == 1
    assert reused_ids([noted(0, 1), noted(2, 3)]) == 0


async def test_a_ledger_counts_the_missing_events_of_each_run(tmp_path):
    arrivals = noted(0, 2)
    for run in (1, 2):
        side = SideFile(tmp_path / "put")
        for number in (0, 1) if run == 1 else (2, 3):
            await side.write(P, K, number, f"id-{number}", run)
        await side.write(P, K, 4, "-", run)
        side.close()
    ledger = Ledger(tmp_path / "put", lambda _: arrivals)
    ledger.read()

    assert ledger.missing(P) == {1: 1, 2: 1}
    assert (ledger.recorded[P], ledger.unknown) == (4, 2)

    arrivals.note(K, 1, "id-1")
    assert ledger.missing(P) == {2: 1}
    assert ledger.examples(P) == [f"{K} 3 (run 2)"]


async def test_a_side_file_in_several_parts_is_read_while_it_grows_without_torn_lines(tmp_path):
    path = tmp_path / "put"
    side, reading = SideFile(path), SideFileReader(path)
    found = []
    for start in range(0, 4000, 500):
        await asyncio.gather(*(side.write(P, K, start + n, f"id-{start + n}", 1) for n in range(500)))
        found += [line.number for line in reading.more()]
    side.close()
    with sorted(tmp_path.iterdir())[-1].open("ab") as file:
        file.write(b"steady-durable-amqp steady-durable-amqp.eu 99")

    assert sorted(found) == list(range(4000))
    assert list(reading.more()) == []
    assert len(list(tmp_path.iterdir())) > 1
    assert highest(path) == {K: 3999}
    assert len(recorded(path)[P, K]) == 4000


@pytest.mark.parametrize("seed", range(4))
async def test_garbage_after_the_last_commit_loses_nothing_and_a_cut_log_loses_its_end(tmp_path, seed):
    # Given the outbox of a process that was killed
    path = tmp_path / "outbox.db"
    outbox = Outbox(path)
    outbox.open()
    for number in range(50):
        await append_one(outbox, make(number), ["a"])
    files = {each: each.read_bytes() for each in (path, log_of(path))}
    await outbox.close()
    for each, content in files.items():
        each.write_bytes(content)
    # When garbage follows the last commit
    assert committed(log_of(path)) == len(files[log_of(path)])
    assert spoil_uncommitted(path, random.Random(seed))
    copy = log_of(path).read_bytes()
    # Then nothing is lost
    async with opened(path) as again:
        assert again.counts().pending == {"a": 50}
    # And if the log is cut, what was committed before the cut is kept
    path.write_bytes(files[path])
    log_of(path).write_bytes(copy)
    assert cut_log(path, 0.5)
    async with opened(path) as again:
        left = [event.body for _, event in await again.page("a")]
    assert left == [b"%d" % number for number in range(len(left))]
    assert 10 < len(left) < 40

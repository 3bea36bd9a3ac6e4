"""monitor/workers.py: one document for all workers of a supervisor."""

import asyncio
from dataclasses import dataclass

import pytest

from evbus_like.engine.errors import SettingError
from evbus_like.monitor import folder, workers
from evbus_like.monitor.document import status
from evbus_like.monitor.local import LocalSocket
from evbus_like.monitor.workers import Workers
from tests.unit.fakes import HANG


@dataclass
class Worker:
    number: int
    pid: int


def process(number, state="running"):
    bus = {"state": state, "outbox": None, "destinations": {}}
    return {"worker": number, "pid": 100 + number, "bus": bus, "handlers": {}, "services": {}, "calls": {}}


@pytest.fixture
async def answering(tmp_path):
    """A function that lets a worker answer, after a wait; gives how often it was asked."""
    opened, asked = [], []

    async def answer(number, state="running", wait=0.0):
        async def answered():
            asked.append(number)
            await asyncio.sleep(wait)
            return status([process(number, state)])

        opened.append(LocalSocket(tmp_path / folder.name_of(100 + number, of_worker=True), answered))
        await opened[-1].start()
        return asked

    yield answer
    async with asyncio.timeout(HANG):
        for each in opened:
            await each.close()


def asking(tmp_path, count, *numbers):
    return Workers(lambda: tmp_path, count, lambda: [Worker(number, 100 + number) for number in numbers])


async def test_all_workers_are_in_one_document_that_is_ready_when_all_are(answering, tmp_path):
    await answering(1)
    await answering(2)

    found = await asyncio.wait_for(asking(tmp_path, 2, 1, 2).status(), HANG)
    assert ([each["worker"] for each in found["processes"]], found["ready"]) == ([1, 2], True)
    assert folder.sockets(tmp_path) == []  # `evbus status` asks the supervisor


async def test_a_worker_that_is_not_ready_is_named(answering, tmp_path):
    await answering(1)
    await answering(2, "stopping")

    found = await asyncio.wait_for(asking(tmp_path, 2, 1, 2).status(), HANG)
    assert (found["ready"], found["reasons"]) == (False, ["worker 2: the bus is stopping"])


async def test_workers_that_are_absent_starting_or_stuck_are_named_and_the_others_shown(
    answering, tmp_path, monkeypatch
):
    monkeypatch.setattr(workers, "WITHIN", 0.2)
    await answering(1)
    await answering(2, wait=HANG)

    found = await asyncio.wait_for(asking(tmp_path, 4, 1, 2, 3).status(), HANG)
    assert [each["worker"] for each in found["processes"]] == [1]
    stuck, starting, absent = found["reasons"]
    assert "worker 2 (process 102): " in stuck
    assert "none within 0.2 s" in stuck
    assert "worker 3 (process 103) is starting" in starting
    assert absent == "worker 4 does not run now"


async def test_a_worker_that_is_being_replaced_still_counts(answering, tmp_path):
    await answering(1)
    both = Workers(lambda: tmp_path, 1, lambda: [Worker(1, 101), Worker(1, 999)])

    assert (await asyncio.wait_for(both.status(), HANG))["ready"]


async def test_a_hundred_who_ask_at_once_are_one_question(answering, tmp_path):
    asked = await answering(1, wait=0.1)
    asks = asking(tmp_path, 1, 1)

    found = await asyncio.wait_for(asyncio.gather(*(asks.status() for _ in range(100))), HANG)
    assert (len(asked), all(each["ready"] for each in found)) == (1, True)


async def test_a_reader_who_leaves_does_not_end_the_question_of_others(answering, tmp_path):
    await answering(1, wait=0.1)
    asks = asking(tmp_path, 1, 1)
    leaves, stays = asyncio.create_task(asks.status()), asyncio.create_task(asks.status())
    await asyncio.sleep(0.02)
    leaves.cancel()

    assert (await asyncio.wait_for(stays, HANG))["ready"]


async def test_without_a_home_folder_it_says_so():
    def nowhere():
        raise SettingError("user 7 has no home folder")

    found = await Workers(nowhere, 1, lambda: []).status()
    assert (found["ready"], found["reasons"]) == (False, ["user 7 has no home folder"])

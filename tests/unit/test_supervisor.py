"""processes/supervisor.py: workers are restarted, replaced, watched and stopped; the workers are fakes."""

import asyncio
import logging
import signal
import time
from contextlib import asynccontextmanager

import pytest

from evbus_like.processes import supervisor as module
from evbus_like.processes.supervisor import Limits, Supervisor
from evbus_like.testing import eventually
from tests.unit.fakes import HANG

FAST = Limits(stop=5.0, grace=5.0, start=5.0, backoff=0.001, backoff_cap=0.002, lived=1000.0)


class FakeChild:
    """A worker that does what its plan says: "receive", "wait to load", "refuse" (ends with 2), or "ignore SIGTERM"."""

    def __init__(self, number, pid, plan, waits):
        self.number, self.pid, self.plan, self.waits = number, pid, plan, waits
        self.begun = self.heard = time.monotonic()
        self.told = {}
        self.signals = []
        self._news = asyncio.Condition()
        self._end = asyncio.get_running_loop().create_future()
        self._doing = asyncio.create_task(self._do())

    async def _do(self):
        await self.tell("hello")
        if self.plan == "refuse":
            self.end(2)
        elif self.plan != "wait to load":
            await self.tell("loaded")
            if not self.waits:
                await self.begin()

    async def begin(self):
        await self.tell("started")
        await self.tell("receiving")

    async def tell(self, event, **facts):
        async with self._news:
            self.told[event] = facts
            self._news.notify_all()

    def end(self, code):
        if not self._end.done():
            self._end.set_result(code)

    async def tells(self, event, timeout):
        waiting = asyncio.create_task(self._until(event))
        await asyncio.wait([waiting, self._end], timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        return event in self.told

    async def _until(self, event):
        async with self._news:
            await self._news.wait_for(lambda: event in self.told)

    async def ended(self):
        return await asyncio.shield(self._end)

    def send(self, number):
        self.signals.append(number)
        if number == signal.SIGKILL:
            self.end(-9)
        if number == signal.SIGTERM and self.plan != "ignore SIGTERM":
            self.end(0 if "started" in self.told else -15)

    def go(self):
        self._doing = asyncio.create_task(self.begin())

    @property
    def alive(self):
        return not self._end.done()


class Workers:
    """Starts fakes by their plans, one after another, then such that receive; `all` has them in order."""

    def __init__(self, *plans):
        self.plans = list(plans)
        self.all = []
        self.ended = []

    async def start(self, number, waits):
        plan = self.plans.pop(0) if self.plans else "receive"
        if isinstance(plan, OSError):
            raise plan
        self.all.append(FakeChild(number, 1000 + len(self.all), plan, waits))
        return self.all[-1]

    @property
    def receiving(self):
        return [each.pid for each in self.all if each.alive and "receiving" in each.told]


@asynccontextmanager
async def supervised(workers, count=2, limits=FAST):
    supervisor = Supervisor(workers.start, count, limits, workers.ended.append)
    running = asyncio.create_task(supervisor.run())
    supervisor.result = running
    async with asyncio.timeout(HANG):
        try:
            yield supervisor
        finally:
            supervisor.stop()
            await asyncio.wait([running])
    assert not any(each.alive for each in workers.all)


async def receive(workers, count=2):
    await eventually(lambda: len(workers.receiving) == count, timeout=HANG)


async def test_all_workers_are_started_and_a_stop_ends_them_in_order():
    workers = Workers()
    async with supervised(workers, 3) as supervisor:
        await receive(workers, 3)
        supervisor.stop()
        assert await supervisor.result == 0

    assert [(each.number, each.signals) for each in workers.all] == [(n, [signal.SIGTERM]) for n in (1, 2, 3)]
    assert sorted(each.number for each in workers.ended) == [1, 2, 3]


async def test_a_worker_that_dies_is_restarted_with_its_number(caplog):
    workers = Workers()
    async with supervised(workers) as supervisor:
        await receive(workers)
        workers.all[1].end(-9)
        await eventually(lambda: workers.receiving == [1000, 1002], timeout=HANG)
        supervisor.stop()
        assert await supervisor.result == 0

    assert workers.all[2].number == 2
    assert "worker 2 (process 1001) was killed by SIGKILL; a new one starts in" in caplog.text


async def test_where_the_first_worker_is_unusable_no_other_is_started():
    workers = Workers("refuse")
    async with supervised(workers, 4) as supervisor:
        assert await supervisor.result == 2

    assert len(workers.all) == 1


async def test_a_worker_that_becomes_unusable_later_is_tried_again_and_again():
    workers = Workers("receive", "receive", "refuse", "refuse", OSError("no room"))
    async with supervised(workers):
        await receive(workers)
        workers.all[0].end(1)
        await receive(workers)

    assert [each.number for each in workers.all] == [1, 2, 1, 1, 1]


async def test_a_worker_that_ignores_the_stop_is_killed_and_that_is_a_failure(caplog):
    workers = Workers("ignore SIGTERM")
    async with supervised(workers, 2, Limits(stop=0.01, grace=0.01)) as supervisor:
        await receive(workers)
        supervisor.stop()
        assert await supervisor.result == 1

    assert workers.all[0].signals == [signal.SIGTERM, signal.SIGKILL]
    assert "worker 1 (process 1000) did not stop within 0.02 s and is killed" in caplog.text


async def test_a_rolling_restart_replaces_one_worker_at_a_time_and_never_two_with_one_number():
    workers, fewest, numbers = Workers(), [], []
    start = workers.start

    async def watched(number, waits):
        child = await start(number, waits)
        fewest.append(len(workers.receiving))
        child.go_before, child.go = child.go, lambda: (numbers.append(running()), child.go_before())
        return child

    def running():
        return sorted(each.number for each in workers.all if each.alive and ("receiving" in each.told))

    async with supervised(workers, 4) as supervisor:
        await receive(workers, 4)
        workers.start, supervisor._start = watched, watched
        supervisor.roll()
        await eventually(lambda: workers.receiving == [1004, 1005, 1006, 1007], timeout=HANG)
        supervisor.stop()
        assert await supervisor.result == 0

    assert fewest == [4, 4, 4, 4]  # the old one works until the new one has loaded
    assert numbers == [[2, 3, 4], [1, 3, 4], [1, 2, 4], [1, 2, 3]]


async def test_a_rolling_restart_ends_with_the_first_new_worker_that_cannot_load(caplog):
    workers = Workers("receive", "receive", "refuse")
    async with supervised(workers) as supervisor:
        await receive(workers)
        supervisor.roll()
        await eventually(
            lambda: "the rolling restart has ended early: 0 of 2 workers are new" in caplog.text, timeout=HANG
        )
        assert workers.receiving == [1000, 1001]


async def test_a_new_worker_that_takes_too_long_to_load_is_ended_and_the_old_one_stays(caplog):
    workers = Workers("receive", "receive", "wait to load")
    async with supervised(workers, 2, Limits(start=0.01)) as supervisor:
        await receive(workers)
        supervisor.roll()
        await eventually(lambda: "the rolling restart has ended early" in caplog.text, timeout=HANG)
        assert workers.receiving == [1000, 1001]
        assert not workers.all[2].alive


async def test_a_second_rolling_restart_begins_after_the_first():
    workers = Workers()
    async with supervised(workers) as supervisor:
        await receive(workers)
        supervisor.roll()
        await eventually(lambda: len(workers.all) >= 3, timeout=HANG)
        supervisor.roll()
        await eventually(lambda: workers.receiving == [1004, 1005], timeout=HANG)


async def test_a_stop_ends_a_rolling_restart_and_the_worker_that_waits():
    workers = Workers("receive", "receive", "wait to load")
    async with supervised(workers) as supervisor:
        await receive(workers)
        supervisor.roll()
        await eventually(lambda: len(workers.all) == 3 and "hello" in workers.all[2].told, timeout=HANG)
        supervisor.stop()
        assert await supervisor.result == 0


async def test_a_reload_reaches_the_workers_that_have_begun():
    workers = Workers()
    async with supervised(workers) as supervisor:
        await receive(workers)
        del workers.all[1].told["hello"]  # as if it had not told anything yet: SIGHUP would end it
        assert supervisor.reload() == [workers.all[0]]

        assert [each.signals for each in workers.all] == [[signal.SIGHUP], []]


@pytest.mark.parametrize("alive", [True, False])
async def test_a_worker_whose_event_loop_hangs_is_killed_and_one_that_never_reported_it_is_not(
    alive, monkeypatch, caplog
):
    monkeypatch.setattr(module, "TICK", 0.005)
    workers = Workers()
    async with supervised(workers, 1, Limits(silent=0.02, backoff=0.001, backoff_cap=0.001)):
        await receive(workers, 1)
        if alive:
            await workers.all[0].tell("alive")
            await eventually(lambda: len(workers.all) == 2, timeout=HANG)
        else:
            await asyncio.sleep(0.05)
            assert len(workers.all) == 1

    assert ("worker 1 (process 1000) has shown no life for 0.02 s and is killed" in caplog.text) is alive


async def test_the_log_says_how_a_worker_ended(caplog):
    caplog.set_level(logging.INFO)
    assert module.how(3) == "ended with exit code 3"
    assert module.how(-11) == "was killed by SIGSEGV"
    assert module.how(-64 - 30) == "was killed by signal 94"

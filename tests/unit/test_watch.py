"""engine/waiting.py: deadlines for many waits with one timer."""

import asyncio

import pytest

from evbus_like.engine.waiting import DeadlineTimer
from tests.unit.fakes import HANG


@pytest.fixture
async def loop():
    return asyncio.get_running_loop()


@pytest.fixture
def watch():
    return DeadlineTimer()


async def ending(watch, seconds, ended, name):
    loop = asyncio.get_running_loop()
    try:
        await watch.wait(loop.create_future(), loop.time() + seconds)
    except TimeoutError:
        ended.append(name)


async def test_waits_end_at_their_own_deadlines_in_whatever_order_they_came(watch):
    ended = []
    async with asyncio.timeout(HANG), asyncio.TaskGroup() as group:
        for seconds, name in ((0.09, "late"), (0.01, "early"), (0.05, "between")):
            group.create_task(ending(watch, seconds, ended, name))
    assert ended == ["early", "between", "late"]


async def test_a_wait_that_ends_in_time_is_forgotten_and_those_after_it_still_end(watch, loop):
    done = loop.create_future()
    loop.call_soon(done.set_result, None)
    await watch.wait(done, loop.time() + 0.02)
    assert not watch._waits

    ended = []
    async with asyncio.timeout(HANG):
        await ending(watch, 0.05, ended, "later")
    assert ended == ["later"]


async def test_a_thousand_waits_share_one_timer(watch, loop, monkeypatch):
    timers = []
    call_at = loop.call_at
    monkeypatch.setattr(loop, "call_at", lambda when, call: timers.append(when) or call_at(when, call))
    futures = [loop.create_future() for _ in range(1000)]
    waits = [asyncio.create_task(watch.wait(future, loop.time() + 30)) for future in futures]
    await asyncio.sleep(0)
    for future in futures:
        future.set_result(None)
    await asyncio.gather(*waits)
    assert len(timers) == 1


async def test_a_cancelled_wait_is_forgotten(watch, loop):
    waiting = asyncio.create_task(watch.wait(loop.create_future(), loop.time() + 30))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    assert not watch._waits

"""Running a coroutine in another thread's event loop."""

import asyncio
import threading

import pytest

from evbus_like.engine.waiting import in_event_loop, run_in_loop, run_in_loop_and_block

HANG = 20.0


@pytest.fixture
def other():
    """Give the event loop of another thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join(HANG)
    loop.close()


async def both_ways(coroutine, loop, timeout):
    """Give the outcome of the call in both forms."""
    errors = {"blocked": ValueError("blocked"), "closed": ValueError("closed")}

    async def outcome(result):
        try:
            return await result
        except Exception as error:
            return f"{type(error).__name__}: {error}"

    return [
        await outcome(run_in_loop(coroutine(), loop, timeout, **errors)),
        await outcome(asyncio.to_thread(run_in_loop_and_block, coroutine(), loop, timeout, **errors)),
    ]


async def where():
    return asyncio.get_running_loop()


async def fail():
    raise TimeoutError("its own")


async def test_a_coroutine_runs_in_the_other_loop_and_its_result_comes_back(other):
    assert await both_ways(where, other, HANG) == [other, other]


async def test_an_error_of_the_coroutine_is_raised_as_it_is_even_a_timeout(other):
    assert await both_ways(fail, other, HANG) == ["TimeoutError: its own"] * 2


async def test_a_loop_that_does_not_answer_raises_the_error_for_a_blocked_loop_and_cancels_the_coroutine(other):
    ended = threading.Semaphore(0)

    async def slow():
        try:
            await asyncio.sleep(HANG)
        finally:
            ended.release()

    assert await both_ways(slow, other, 0.1) == ["ValueError: blocked"] * 2
    assert [await asyncio.to_thread(ended.acquire, timeout=HANG) for _ in range(2)] == [True, True]


@pytest.mark.parametrize("made", [True, False])
async def test_a_loop_that_is_closed_or_was_never_made_raises_the_error_for_a_closed_loop(made):
    loop = asyncio.new_event_loop() if made else None
    if loop is not None:
        loop.close()

    assert await both_ways(where, loop, HANG) == ["ValueError: closed"] * 2


async def test_a_thread_knows_whether_it_runs_an_event_loop():
    assert in_event_loop()
    assert not await asyncio.to_thread(in_event_loop)

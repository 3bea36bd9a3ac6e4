"""engine/queue.py and waiters.py: asyncio.Queue's interface, for any thread and any event loop."""

import asyncio
import sys
import threading
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evbus_like.engine.errors import QueueFull, QueueShutDown
from evbus_like.engine.queue import Queue
from evbus_like.memory.queues import Mailbox
from tests.unit.fakes import HANG, until


@pytest.fixture
def busy_threads():
    """Make threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def in_threads(count, work):
    """Run work(number) in as many threads and give what they raised."""
    errors = []

    def run(number):
        try:
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(n,), daemon=True) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANG)
    assert not any(thread.is_alive() for thread in threads), "a thread hangs"
    return errors


@settings(deadline=None)
@given(steps=st.lists(st.sampled_from(["put", "get", "take", "done"]), max_size=60), bound=st.integers(0, 5))
def test_it_behaves_as_a_bounded_deque(steps, bound):
    queue, model, number, taken = Queue(bound), deque(), 0, 0

    for step in steps:
        if step == "put":
            number += 1
            if bound and len(model) >= bound:
                with pytest.raises(QueueFull):
                    queue.put_nowait(number)
            else:
                queue.put_nowait(number)
                model.append(number)
        elif step == "get":
            if model:
                assert queue.get_nowait() == model.popleft()
                taken += 1
            else:
                with pytest.raises(asyncio.QueueEmpty):
                    queue.get_nowait()
        elif step == "take":
            expected = [model.popleft() for _ in range(min(3, len(model)))]
            assert queue.take(3) == expected
            taken += len(expected)
        elif taken:
            queue.task_done()
            taken -= 1
        else:
            with pytest.raises(ValueError, match="too many"):
                queue.task_done()
        assert (queue.qsize(), queue.empty(), queue.full()) == (len(model), not model, 0 < bound <= len(model))


def test_a_full_queue_names_itself_and_its_bound():
    queue = Queue(1, "the bus's intake queue")
    queue.put_nowait(1)

    with pytest.raises(QueueFull, match=r"the bus's intake queue is full \(1 items\)"):
        queue.put_nowait(2)


async def test_get_waits_for_an_item_of_another_thread():
    queue = Queue()
    getter = asyncio.create_task(queue.get())
    await asyncio.sleep(0)

    threading.Thread(target=queue.put_nowait, args=(7,)).start()

    assert await asyncio.wait_for(getter, HANG) == 7


async def test_put_waits_for_room_that_another_thread_makes():
    queue = Queue(1)
    queue.put_nowait(1)
    putter = asyncio.create_task(queue.put(2))
    await asyncio.sleep(0)

    threading.Thread(target=queue.get_nowait).start()
    await asyncio.wait_for(putter, HANG)

    assert queue.get_nowait() == 2


async def test_take_wakes_as_many_putters_as_it_makes_room_for():
    queue = Queue(3)
    putters = [asyncio.create_task(queue.put(n)) for n in range(6)]
    await asyncio.sleep(0)

    assert queue.take(10) == [0, 1, 2]
    await asyncio.wait_for(asyncio.gather(*putters), HANG)

    assert queue.take(10) == [3, 4, 5]


async def test_a_cancelled_put_leaves_nothing_in_the_queue():
    queue = Queue(1)
    queue.put_nowait(1)
    putter = asyncio.create_task(queue.put(2))
    await asyncio.sleep(0)

    putter.cancel()
    await asyncio.wait([putter])

    assert queue.take(10) == [1]


async def test_a_waiter_that_is_cancelled_when_woken_hands_the_wake_up_on():
    queue = Queue()
    first, second = asyncio.create_task(queue.get()), asyncio.create_task(queue.get())
    await asyncio.sleep(0)

    queue.put_nowait("x")
    first.cancel()

    assert await asyncio.wait_for(second, 2) == "x"


async def test_a_waiter_that_is_cancelled_while_another_thread_wakes_it_hands_the_wake_up_on():
    queue = Queue()
    first, second = asyncio.create_task(queue.get()), asyncio.create_task(queue.get())
    await asyncio.sleep(0)

    thread = threading.Thread(target=queue.put_nowait, args=("x",))
    thread.start()
    thread.join()
    first.cancel()

    assert await asyncio.wait_for(second, 2) == "x"


async def test_a_waiter_of_a_closed_loop_is_passed_over():
    queue = Queue()
    dead = asyncio.new_event_loop()
    waiting = dead.create_task(queue.get())
    thread = threading.Thread(target=lambda: dead.run_until_complete(asyncio.sleep(0)))
    thread.start()
    thread.join()
    dead.close()
    getter = asyncio.create_task(queue.get())
    await asyncio.sleep(0)

    queue.put_nowait("x")

    assert await asyncio.wait_for(getter, HANG) == "x"
    waiting._log_destroy_pending = False


async def test_join_waits_until_every_item_is_dealt_with():
    queue = Queue()
    queue.put_nowait(1)
    queue.put_nowait(2)
    joiner = asyncio.create_task(queue.join())
    queue.take(2)
    queue.task_done()
    await asyncio.sleep(0)
    assert not joiner.done()

    queue.task_done()

    await asyncio.wait_for(joiner, HANG)


async def test_wake_ends_a_wait_though_there_is_no_item():
    queue = Queue()
    waiter = asyncio.create_task(queue.wait_filled())
    await asyncio.sleep(0)

    queue.wake()

    await asyncio.wait_for(waiter, HANG)


def test_threads_lose_nothing_and_double_nothing_and_keep_their_order(busy_threads):
    queue, taken = Queue(), []

    def work(number):
        for n in range(1000):
            queue.put_nowait((number, n))

    taker = threading.Thread(target=lambda: in_loop(queue, taken, 4000), daemon=True)
    taker.start()
    assert not in_threads(4, work)
    taker.join(HANG)

    for number in range(4):
        assert [n for who, n in taken if who == number] == list(range(1000))


def in_loop(queue, taken, count):
    async def take():
        while len(taken) < count:
            taken.append(await queue.get())

    asyncio.run(take())


def test_putters_of_several_loops_share_a_full_queue_and_none_is_refused(busy_threads):
    queue, taken = Queue(2), []

    def work(number):
        async def put():
            for n in range(300):
                await queue.put((number, n))

        asyncio.run(put())

    taker = threading.Thread(target=in_loop, args=(queue, taken, 1200), daemon=True)
    taker.start()
    errors = in_threads(4, work)
    taker.join(2)

    assert errors == []
    for number in range(4):
        assert [n for who, n in taken if who == number] == list(range(300))


class Contested(deque):
    """A deque whose items another thread pops between a look at its length and the pop that follows."""

    rival = None

    def popleft(self):
        if self.rival is not None and self:
            rival, self.rival = self.rival, None
            rival.append(super().popleft())
        return super().popleft()


def test_take_gives_what_is_left_when_another_thread_is_faster():
    queue, stolen = Queue(), []
    queue.items = Contested([1, 2, 3])
    queue.items.rival = stolen

    taken = queue.take(3)

    assert stolen + taken == [1, 2, 3]


async def test_getters_of_two_loops_share_the_items(busy_threads):
    queue, theirs, ours = Queue(), [], []
    other = threading.Thread(target=in_loop, args=(queue, theirs, 1), daemon=True)
    other.start()
    await until(lambda: len(queue._getters) == 1)

    queue.put_nowait("a")
    await asyncio.to_thread(other.join, HANG)
    queue.put_nowait("b")
    ours.append(await asyncio.wait_for(queue.get(), HANG))

    assert (theirs, ours) == (["a"], ["b"])


# ---- shutdown


async def test_a_shut_down_queue_gives_what_it_has_and_takes_nothing_more():
    queue = Queue()
    queue.put_nowait(1)
    queue.shutdown()
    for put in (queue.put_nowait, lambda item: queue.extend([item])):
        with pytest.raises(QueueShutDown):
            put(2)
    with pytest.raises(QueueShutDown):
        await queue.put(2)
    assert await queue.get() == 1
    with pytest.raises(QueueShutDown):
        queue.get_nowait()
    with pytest.raises(QueueShutDown):
        await queue.get()


async def test_an_immediate_shutdown_discards_what_is_queued_and_ends_join():
    queue = Queue()
    queue.extend([1, 2])
    joined = asyncio.create_task(queue.join())
    await asyncio.sleep(0)
    queue.shutdown(immediate=True)
    await asyncio.wait_for(joined, HANG)
    with pytest.raises(QueueShutDown):
        queue.get_nowait()


async def test_join_waits_for_what_was_taken_before_an_immediate_shutdown():
    queue = Queue()
    queue.extend([1, 2])
    queue.get_nowait()
    joined = asyncio.create_task(queue.join())
    await asyncio.sleep(0)
    queue.shutdown(immediate=True)
    await asyncio.sleep(0)
    assert not joined.done()
    queue.task_done()
    await asyncio.wait_for(joined, HANG)


@pytest.mark.parametrize("make", [Queue, Mailbox])
@pytest.mark.parametrize("from_a_thread", [False, True])
async def test_a_shutdown_wakes_all_who_wait(make, from_a_thread):
    empty, full = make(), make(1)
    full.put_nowait(b"1")
    waiting = [asyncio.create_task(wait) for _ in range(3) for wait in (empty.get(), full.put(b"2"))]
    await asyncio.sleep(0)
    for queue in (empty, full):
        if from_a_thread:
            await asyncio.to_thread(queue.shutdown)
        else:
            queue.shutdown()
    results = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), HANG)
    assert [type(each) for each in results] == [QueueShutDown] * 6


@pytest.mark.skipif(sys.version_info < (3, 13), reason="asyncio has QueueShutDown from Python 3.13 on")
def test_the_error_of_a_shut_down_queue_is_asyncios():
    queue = Queue()
    queue.shutdown()
    with pytest.raises(asyncio.QueueShutDown):
        queue.put_nowait(1)


async def test_a_put_is_refused_once_the_intake_queue_is_shut_down(hub, start):
    await start()
    hub.evbus.BUS.shutdown()
    with pytest.raises(QueueShutDown):
        await hub.evbus.broker.put("a", 1)
    with pytest.raises(QueueShutDown):
        hub.evbus.broker.put_nowait("a", 1)
    assert (await hub.evbus.init.stop()).put == 0

"""engine/receiving/keyed_queue.py: which event is next."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from evbus_like.engine.receiving.keyed_queue import KeyedQueue
from evbus_like.engine.receiving.received import ReceivedEvent


def event(number, order=None):
    return ReceivedEvent(b"", id=str(number), order=order)


async def test_events_come_in_the_order_of_their_arrival():
    turns = KeyedQueue()
    for number in range(3):
        turns.add(event(number))
    assert [(await turns.next()).id for _ in range(3)] == ["0", "1", "2"]


async def test_the_next_of_an_order_waits_for_the_one_before_and_others_do_not():
    turns = KeyedQueue()
    first = event(0, "a")
    for each in (first, event(1, "a"), event(2, "b")):
        turns.add(each)
    assert [(await turns.next()).id for _ in range(2)] == ["0", "2"]
    waiting = asyncio.create_task(turns.next())
    await asyncio.sleep(0)
    assert not waiting.done()
    turns.done(first)
    assert (await waiting).id == "1"


async def test_a_taker_that_is_woken_and_cancelled_hands_its_event_on():
    turns = KeyedQueue()
    one, two = (asyncio.create_task(turns.next()) for _ in range(2))
    await asyncio.sleep(0)
    turns.add(event(0))
    one.cancel()
    assert (await asyncio.wait_for(two, 1)).id == "0"


@given(st.lists(st.sampled_from([None, "a", "b"]), max_size=20), st.integers(1, 4))
def test_workers_handle_each_order_one_after_another_and_lose_nothing(orders, workers):
    async def main():
        turns, done, busy = KeyedQueue(), [], set()

        async def work():
            while True:
                each = await turns.next()
                assert each.order is None or each.order not in busy
                busy.add(each.order)
                await asyncio.sleep(0)
                busy.discard(each.order)
                done.append(each)
                turns.done(each)

        tasks = [asyncio.create_task(work()) for _ in range(workers)]
        for number, order in enumerate(orders):
            turns.add(event(number, order))
            await asyncio.sleep(0)
        async with asyncio.timeout(5):
            while len(done) < len(orders):  # noqa: ASYNC110 - the workers have no event to await
                await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(each, asyncio.CancelledError) for each in ended), ended
        for order in ("a", "b"):
            numbers = [int(each.id) for each in done if each.order == order]
            assert numbers == sorted(numbers)
        assert len({each.id for each in done}) == len(orders)

    asyncio.run(main())

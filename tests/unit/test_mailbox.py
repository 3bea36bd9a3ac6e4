"""memory/queues.py: bodies in, bodies out; events for who wants the headers."""

import asyncio

import pytest

from evbus_like.engine.errors import QueueFull
from evbus_like.engine.event import Event
from evbus_like.memory.queues import Mailbox


async def test_it_gives_bodies_in_order():
    box = Mailbox(10, "orders")
    await box.put(b"1")
    box.put_nowait(b"2")

    assert (await box.get(), box.get_nowait()) == (b"1", b"2")
    with pytest.raises(asyncio.QueueEmpty):
        box.get_nowait()


async def test_it_gives_the_whole_event_to_who_asks():
    box = Mailbox(10, "orders")
    event = Event("k", b"{}", "p", {"a": 1})
    box.put_nowait(event)

    assert await box.get_event() is event


def test_its_bound_can_be_moved():
    box = Mailbox(1, "orders")
    box.put_nowait(b"1")
    with pytest.raises(QueueFull, match="orders"):
        box.put_nowait(b"2")

    box.maxsize = 2
    box.put_nowait(b"2")

    assert box.full()


async def test_join_and_task_done_are_asyncio_s():
    box = Mailbox(10, "orders")
    box.put_nowait(b"1")
    await box.get()
    joiner = asyncio.create_task(box.join())
    await asyncio.sleep(0)
    assert not joiner.done()

    box.task_done()

    await asyncio.wait_for(joiner, 5)

"""monitor/stream.py: one document for all who follow, and none waits for a slow one."""

import asyncio
import json

import pytest

from evbus_like.monitor import stream
from evbus_like.monitor.document import status
from evbus_like.monitor.stream import Stream
from evbus_like.testing import eventually
from tests.unit.fakes import HANG


class Follower:
    """Takes what it is sent, or nothing."""

    def __init__(self, takes=True):
        self.got = []
        self.takes = takes

    async def write(self, message):
        if not self.takes:
            await asyncio.sleep(HANG * 10)
        self.got.append(message)

    @property
    def documents(self):
        return [json.loads(each.partition(b"data: ")[2]) for each in self.got if each.startswith(b"event: status")]


@pytest.fixture
async def streaming(monkeypatch):
    """A stream that sends every 10 ms, and how often the status was made."""
    monkeypatch.setattr(stream, "EVERY", 0.01)
    made = []

    async def make():
        made.append(len(made))
        return {**status([]), "reasons": [str(len(made))]}

    streaming = Stream(make)
    yield streaming, made
    async with asyncio.timeout(HANG):
        await streaming.close()


async def test_a_hundred_followers_get_the_same_documents_each_made_once(streaming):
    streamed, made = streaming
    followers = [Follower() for _ in range(100)]
    tasks = [asyncio.create_task(streamed.follow(each.write)) for each in followers]
    await eventually(lambda: all(len(each.documents) >= 3 for each in followers), HANG)

    assert streamed.following == 100
    assert len(made) <= len(followers[0].documents) + 2
    await streamed.close()
    await asyncio.wait_for(asyncio.gather(*tasks), HANG)
    assert streamed.following == 0


async def test_a_follower_that_takes_nothing_is_dropped_and_counted_and_the_others_go_on(streaming, monkeypatch):
    monkeypatch.setattr(stream, "WITHIN", 0.05)
    streamed, _ = streaming
    good = Follower()
    task = asyncio.create_task(streamed.follow(good.write))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(streamed.follow(Follower(takes=False).write), HANG)

    assert (streamed.dropped, streamed.following) == (1, 1)
    seen = len(good.got)
    await eventually(lambda: len(good.got) > seen, HANG)
    task.cancel()
    await asyncio.wait([task])


async def test_nothing_is_made_while_nobody_follows(streaming):
    streamed, made = streaming
    task = asyncio.create_task(streamed.follow(Follower().write))
    await eventually(lambda: made, HANG)
    task.cancel()
    await asyncio.wait([task])
    await asyncio.sleep(0.03)
    before = len(made)
    await asyncio.sleep(0.05)

    assert len(made) == before
    follower = Follower()
    again = asyncio.create_task(streamed.follow(follower.write))
    await eventually(lambda: follower.documents, HANG)
    again.cancel()
    await asyncio.wait([again])


async def test_a_status_that_fails_is_logged_and_the_next_one_sent(monkeypatch, caplog):
    monkeypatch.setattr(stream, "EVERY", 0.01)
    answers = iter([ValueError("not now")])

    async def make():
        for error in answers:
            raise error
        return status([])

    streamed, follower = Stream(make), Follower()
    task = asyncio.create_task(streamed.follow(follower.write))
    await eventually(lambda: follower.documents, HANG)
    await streamed.close()
    await asyncio.wait_for(task, HANG)
    assert "could not be streamed" in caplog.text

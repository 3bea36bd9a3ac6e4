"""A stop while a destination is down: it is short, and the error callback gets every event that is not kept."""

import asyncio
import time

import pytest

from evbus_like.engine.errors import DestinationRefused, TransientError
from tests.unit.fakes import Broken, Destination, entry, running, until
from tests.unit.outboxes import opened

LONG = 600.0  # seconds: a stop that ends by its grace does not come near it


class Unreachable(Destination):
    """A destination that is never there: it refuses a connection, or never answers."""

    def __init__(self, hangs: bool = False) -> None:
        super().__init__()
        self.hangs = hangs

    async def open(self) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        raise TransientError("connection refused")


@pytest.mark.parametrize("hangs", [False, True], ids=["refuses", "never answers"])
async def test_a_destination_that_has_never_answered_does_not_hold_up_a_stop(hangs):
    async with running(entry(Unreachable(hangs))) as bus:
        bus.bus.stop_grace = 0.02
        for number in range(50):
            await bus.putter.put(body=number)
        begun = time.monotonic()
        account = await bus.stop(LONG)
        assert time.monotonic() - begun < LONG / 10

    assert account.remaining == 50
    assert [failure.event.body for failure in bus.failures] == [b"%d" % number for number in range(50)]
    assert all(failure.final and "stopped" in str(failure.exception) for failure in bus.failures)


async def test_a_destination_that_comes_back_in_its_grace_gets_everything():
    destination = Destination(open=[TransientError("down")] * 5)
    async with running(entry(destination)) as bus:
        bus.bus.stop_grace = LONG
        await bus.putter.put(body=1)
        await until(lambda: bus.lanes[0].state == "retrying")
        account = await bus.stop(LONG)
    assert account.complete
    assert bus.failures == []


@pytest.mark.parametrize(
    "error", [TransientError("lost"), DestinationRefused("no")], ids=lambda error: type(error).__name__
)
async def test_a_destination_that_fails_every_publish_has_its_grace_too(error):
    async with running(entry(Broken(lambda: error))) as bus:
        bus.bus.stop_grace = 0.02
        await bus.putter.put(body=1)
        await until(lambda: bus.lanes[0].error)
        await bus.stop(LONG)
    assert sum(failure.final for failure in bus.failures) == 1


async def test_stored_events_are_kept_and_not_reported(tmp_path):
    async with opened(tmp_path / "o.sqlite") as outbox:
        async with running(entry(Unreachable(), durable=True), outbox=outbox) as bus:
            bus.bus.stop_grace = 0.02
            await bus.putter.put(body=1)
            account = await bus.stop(LONG)
        assert bus.failures == []
        assert account.lanes[0].spilled == 1


async def test_one_dead_destination_does_not_cost_another_its_time():
    slow = Destination(publish=[lambda events: None])
    dead = entry(Unreachable(), "fake:dead", lambda name: name == "dead")
    async with running(dead, entry(slow, "fake:slow", lambda name: name == "slow")) as bus:
        bus.bus.stop_grace = 0.0
        await bus.putter.put(body=1, profile="dead")
        for number in range(100):
            bus.putter.put_nowait(body=number, profile="slow")
        account = await bus.stop(LONG)
    assert account.delivered == 100
    assert [failure.destination for failure in bus.failures] == ["fake:dead"]

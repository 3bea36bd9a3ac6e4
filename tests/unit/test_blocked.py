"""engine/sending/block.py and sender.py: a destination that says that it takes nothing for now, and for how long."""

import asyncio

import pytest

from evbus_like.engine.errors import Blocked, NotDelivered, TransientError
from evbus_like.engine.sending.block import Block
from tests.unit.fakes import HANG, Destination, entry, running, until

QUICK = 0.05  # a lane's deadline in seconds; the tests outwait several of them


class Alarmed(Destination):
    """Says at its first publish that it is blocked, and answers that publish when `answer` is set."""

    def __init__(self, *answers):
        super().__init__()
        self.answers = list(answers)
        self.answer = asyncio.Event()
        self.says_blocked_in_open = False

    async def open(self):
        if self.says_blocked_in_open and not self.calls["open"]:
            self.on_blocked("low on memory")
        await super().open()

    async def _step(self, name):
        step = await super()._step(name)
        if name == "publish" and self.calls["publish"] == 1 and not self.says_blocked_in_open:
            self.on_blocked("low on memory")
            await self.answer.wait()
            step = self.answers.pop(0) if self.answers else None
            if isinstance(step, Exception):
                raise step
        return step

    def clears(self):
        """End the block and answer, as a broker does that reads on."""
        self.on_blocked(None)
        self.answer.set()


async def several_deadlines():
    await asyncio.sleep(5 * QUICK)


async def test_a_publish_under_way_is_waited_for_beyond_its_deadline_and_not_repeated(caplog):
    destination = Alarmed()

    async with running(entry(destination, timeout=QUICK)) as bus:
        bus.putter.put_nowait(body=1)
        await until(lambda: destination.batches)
        status = bus.lanes[0].status()
        assert (status["state"], status["trouble"], status["in_flight"]) == ("blocked", "low on memory", 1)
        await several_deadlines()
        assert bus.lanes[0].state == "blocked"
        destination.clears()
        await until(lambda: bus.lanes[0].state == "open")
        account = await bus.stop()

    assert (account.delivered, account.retries, account.complete) == (1, 0, True)
    assert destination.sent == [b"1"]
    assert destination.calls["open"] == 1, "the connection is kept"
    assert [line for line in caplog.messages if "blocked" in line or "takes nothing" in line] == [
        "fake:default takes nothing for now, 1 events wait: low on memory"
    ]
    assert sum("is back" in line for line in caplog.messages) == 1


async def test_no_batch_is_begun_during_a_block_and_the_next_one_goes_as_soon_as_it_is_over():
    destination = Alarmed()

    async with running(entry(destination, timeout=QUICK)) as bus:
        bus.putter.put_nowait(body=1)
        await until(lambda: destination.batches)
        destination.answer.set()  # the batch is confirmed, and the block goes on
        await until(lambda: bus.lanes[0].status()["delivered"] == 1)
        await asyncio.sleep(0)
        assert bus.lanes[0].state == "blocked", "a confirm is no end of a block"
        bus.putter.put_nowait(body=2)
        await several_deadlines()
        assert bus.lanes[0].state == "blocked"
        assert destination.sent == [b"1"]
        destination.clears()
        await until(lambda: destination.received == [b"1", b"2"])
        await until(lambda: bus.lanes[0].state == "open")

    assert destination.sent == [b"1", b"2"]


async def test_the_deadline_counts_again_when_the_block_is_over():
    destination = Alarmed()

    async with running(entry(destination, timeout=QUICK)) as bus:
        bus.putter.put_nowait(body=1)
        await until(lambda: destination.batches)
        destination.on_blocked(None)  # and no answer
        await until(lambda: destination.received)
        account = await bus.stop()

    assert (destination.sent, account.retries) == ([b"1", b"1"], 1)


async def test_a_connection_lost_during_a_block_is_opened_again_at_once_and_the_batch_sent_again():
    destination = Alarmed(TransientError("no heartbeat"))

    async with running(entry(destination, timeout=QUICK)) as bus:
        bus.putter.put_nowait(body=1)
        await until(lambda: destination.batches)
        destination.answer.set()
        await until(lambda: destination.received)
        await until(lambda: bus.lanes[0].state == "open")
        account = await bus.stop()

    assert (destination.sent, destination.calls["open"], account.retries) == ([b"1", b"1"], 2, 1)


async def test_an_event_that_fails_during_a_block_waits_with_the_rest():
    destination = Alarmed([None, TransientError("nack")])

    async with running(entry(destination, timeout=QUICK)) as bus:
        for number in range(2):
            bus.putter.put_nowait(body=number)
        await until(lambda: destination.batches)
        destination.answer.set()
        await until(lambda: bus.lanes[0].status()["delivered"] == 1)
        await several_deadlines()
        assert (bus.lanes[0].state, destination.sent) == ("blocked", [b"0", b"1"])
        destination.clears()
        await until(lambda: destination.received == [b"0", b"1"])


async def test_a_block_costs_an_event_none_of_its_tries():
    destination = Alarmed()

    async with running(entry(destination, timeout=QUICK, attempts=1)) as bus:
        bus.putter.put_nowait(body=1)
        await until(lambda: destination.batches)
        await several_deadlines()
        destination.clears()
        await until(lambda: destination.received)
        account = await bus.stop()

    assert (account.delivered, account.dead_lettered) == (1, 0)


async def test_a_stop_during_a_block_ends_in_time_and_counts_what_remains():
    destination = Alarmed()

    async with running(entry(destination, batch_events=1)) as bus:
        for number in range(3):
            bus.putter.put_nowait(body=number)
        await until(lambda: destination.batches)
        account = await asyncio.wait_for(bus.bus.stop(0.1), HANG)

    assert (account.accepted, account.remaining, account.balanced) == (3, 3, True)
    assert account.lanes[0].error == "low on memory"
    assert bus.lanes[0].state == "closed"


async def test_a_put_that_waits_for_delivery_keeps_its_own_deadline_during_a_block():
    destination = Alarmed()

    async with running(entry(destination)) as bus:
        with pytest.raises(NotDelivered) as caught:
            await bus.putter.put(body=1, confirm="delivered", timeout=0.25)
        destination.clears()
        await until(lambda: destination.received)

    assert "low on memory" in str(caught.value)


async def test_a_block_that_begins_while_connecting_holds_the_first_batch():
    destination = Alarmed()
    destination.says_blocked_in_open = True

    async with running(entry(destination)) as bus:
        bus.putter.put_nowait(body=1)
        await until(lambda: destination.is_open)
        await asyncio.sleep(QUICK)
        assert (bus.lanes[0].state, destination.sent) == ("blocked", [])
        destination.clears()
        await until(lambda: destination.received)


async def test_a_block_of_an_idle_lane_is_seen_and_its_end_too():
    destination = Destination()

    async with running(entry(destination)) as bus:
        await until(lambda: bus.lanes[0].state == "open")
        destination.on_blocked("low on disk")
        assert bus.lanes[0].trouble == "blocked: low on disk"
        destination.on_blocked("low on disk and memory")
        assert bus.lanes[0].trouble == "blocked: low on disk and memory"
        destination.on_blocked(None)
        assert bus.lanes[0].trouble == "open"


async def test_the_end_of_a_block_that_never_began_changes_nothing():
    destination = Destination(open=[TransientError("down")] * 1000)

    async with running(entry(destination)) as bus:
        await until(lambda: bus.lanes[0].state == "retrying")
        destination.on_blocked(None)
        assert bus.lanes[0].trouble == "retrying: down"


async def test_a_lane_that_is_closed_stays_so_whatever_its_destination_says():
    destination = Destination()

    async with running(entry(destination)) as bus:
        await bus.stop()
        destination.on_blocked("low on memory")
        destination.on_blocked(None)
        assert bus.lanes[0].state == "closed"


async def test_the_clock_stands_still_and_then_has_all_its_seconds_again():
    block = Block(QUICK)

    async with block.deadline() as deadline:
        error = block.begin("low on memory")
        assert isinstance(error, Blocked)
        assert deadline.when() is None
        await several_deadlines()
        block.end()
        assert deadline.when() > asyncio.get_running_loop().time()

    block.begin("again")  # the deadline of a publish that is over is left alone
    assert block.deadline().when() is None
    block.end()
    assert block.deadline().when() is not None


async def test_a_wait_for_the_end_of_a_block_has_an_end_of_its_own():
    block = Block(1.0)
    block.begin("for ever")

    await asyncio.wait_for(block.wait(QUICK), HANG)

    assert block.error is not None


async def test_an_alarm_that_flaps_is_logged_a_few_times_with_a_count(caplog):
    destination = Destination()
    async with running(entry(destination)) as bus:
        await bus.putter.put(body=1, confirm="delivered")
        for _ in range(3000):
            destination.on_blocked("low on memory")
            destination.on_blocked(None)
        await bus.putter.put(body=2, confirm="delivered")
        await bus.stop()

    lines = [line for line in caplog.messages if line.startswith("fake:default")]
    assert 4 <= len(lines) <= 30
    assert any("low on memory (1000 times in a minute)" in line for line in lines)

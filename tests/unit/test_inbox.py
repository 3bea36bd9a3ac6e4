"""engine/receiving/inbox.py: the mark of an event is committed with its handler's work, whatever the database does."""

import asyncio
from collections import deque

import pytest

from evbus_like.engine.errors import HandlerError, PoisonEvent
from evbus_like.engine.receiving import inbox as engine_inbox
from evbus_like.engine.receiving.inbox import MarkHeld
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.receiving.rules import REQUEUE
from evbus_like.handlers import REJECT
from tests.unit.fakes import HANG, Destination, entry, running, until
from tests.unit.inboxes import Inbox, consuming_with
from tests.unit.sources import Log, Source, hang, made


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """A transaction that could not be begun is tried again at once."""
    monkeypatch.setattr(engine_inbox, "WAIT", (0.001, 0.005))


class Noted(Log):
    """A handler that says in its inbox when it is called."""

    def __init__(self, inbox, function=None):
        super().__init__(function)
        self.inbox = inbox

    async def __call__(self, event):
        self.inbox.said.append(f"handle {event.id}".rstrip())
        await super().__call__(event)


def failing(error, attempts=(1,)):
    def function(event):
        if event.attempt in attempts:
            raise error

    return function


# ---- a transaction for each event


async def test_what_a_handler_does_is_committed_with_the_mark_before_the_event_is_acknowledged():
    source, inbox, seen = Source(), Inbox(), []

    async def acknowledging():
        inbox.said.append("ack")

    source.script["ack"] = deque([acknowledging])
    async with consuming_with(inbox, source, Noted(inbox, lambda event: seen.append(event.transaction))) as consumer:
        source.put(1)
        await until(lambda: source.settled)
    assert inbox.said == ["begin 1", "handle 1", "commit 1", "ack"]
    assert len(seen) == 1
    assert (consumer.stats.handled, consumer.stats.failed) == (1, 0)


async def test_a_repeat_is_acknowledged_without_a_call():
    source, inbox = Source(), Inbox()
    log = Noted(inbox)
    async with consuming_with(inbox, source, log, max_workers=1) as consumer:
        source.put(1, 1, 2)
        await until(lambda: len(source.settled) == 3)
    assert log.begun == ["1", "2"]
    assert source.settled == [("ack", "1"), ("ack", "1"), ("ack", "2")]
    assert (consumer.stats.handled, consumer.stats.repeats) == (2, 1)


async def test_a_failure_is_rolled_back_and_tried_again_with_a_transaction_of_its_own():
    source, inbox, seen = Source(), Inbox(), []

    def function(event):
        seen.append(event.transaction)
        failing(ValueError("no"))(event)

    async with consuming_with(inbox, source, Noted(inbox, function), backoff=0.001) as consumer:
        source.put(1)
        await until(lambda: source.settled)
    assert inbox.said == ["begin 1", "handle 1", "roll back 1 ValueError", "begin 1", "handle 1", "commit 1"]
    assert seen[0] is not seen[1]
    assert (consumer.stats.failed, consumer.stats.retried, consumer.stats.handled) == (1, 1, 1)


async def test_a_commit_that_fails_is_a_failure_of_the_handler_and_leaves_no_mark():
    source, inbox = Source(), Inbox(commit=[ConnectionError("lost while it committed"), None])
    log = Noted(inbox)
    async with consuming_with(inbox, source, log, backoff=0.001) as consumer:
        source.put(1)
        await until(lambda: source.settled)
    assert inbox.said == ["begin 1", "handle 1", "commit 1"] * 2
    assert (consumer.stats.failed, consumer.stats.handled) == (1, 1)


async def test_a_handler_that_is_late_is_rolled_back():
    source, inbox = Source(), Inbox()
    async with consuming_with(inbox, source, Noted(inbox, lambda event: hang()), timeout=0.01, on_error=REJECT):
        source.put(1)
        await until(lambda: source.settled)
    assert inbox.said == ["begin 1", "handle 1", "roll back 1 TimeoutError"]
    assert source.settled == [("dead", "1")]


async def test_the_connection_is_there_only_while_the_handler_runs():
    source, inbox, kept = Source(), Inbox(), []
    async with consuming_with(inbox, source, Noted(inbox, kept.append)):
        source.put(1)
        await until(lambda: source.settled)
    with pytest.raises(HandlerError, match="is there while a handler with inbox= runs"):
        _ = kept[0].transaction


async def test_a_handler_that_cancels_its_own_task_and_returns_is_committed():
    source, inbox = Source(), Inbox()
    log = Noted(inbox, lambda event: asyncio.current_task().cancel() and None)
    async with consuming_with(inbox, source, log, max_workers=1) as consumer:
        source.put(1, 2)
        await until(lambda: len(source.settled) == 2)
    assert inbox.said == ["begin 1", "handle 1", "commit 1", "begin 2", "handle 2", "commit 2"]
    assert (consumer.stats.handled, consumer.stats.failed) == (2, 0)


async def test_a_handler_that_ends_with_a_cancellation_of_its_own_is_rolled_back_and_the_next_event_is_handled():
    async def cancels(event):
        if event.id == "1":
            asyncio.current_task().cancel()
            await asyncio.sleep(0)

    source, inbox = Source(), Inbox()
    async with consuming_with(inbox, source, Noted(inbox, cancels), max_workers=1, on_error=REJECT):
        source.put(1, 2)
        await until(lambda: len(source.settled) == 2)
    assert inbox.said == ["begin 1", "handle 1", "roll back 1 CancelledError", "begin 2", "handle 2", "commit 2"]
    assert source.settled == [("dead", "1"), ("ack", "2")]


async def test_a_handler_that_is_under_way_when_the_worker_must_end_is_rolled_back_and_settled_by_nobody():
    source, inbox = Source(), Inbox()
    log = Noted(inbox, lambda event: hang())
    consumer = made(source, log, inbox="shop")
    consumer.invoker.inbox, consumer.invoker.listener = inbox, "shipping.ship"
    task = asyncio.create_task(consumer.run())
    source.put(1)
    await until(lambda: log.begun)
    task.cancel()
    await asyncio.wait([task], timeout=HANG)
    assert inbox.said == ["begin 1", "handle 1", "roll back 1 CancelledError"]
    assert source.settled == []
    assert [event.id for event in source.queue] == ["1"]


# ---- what the handler puts outside of the transaction


class Gated(Destination):
    """A destination that confirms, or refuses, when the test says so."""

    def __init__(self, error=None):
        super().__init__()
        self.asked, self.gate, self.error = asyncio.Event(), asyncio.Event(), error

    async def publish(self, events):
        self.asked.set()
        await self.gate.wait()
        return await super().publish(events)


async def test_what_a_handler_puts_is_delivered_before_its_work_is_committed():
    source, inbox, destination = Source(), Inbox(), Gated()
    async with running(entry(destination)) as bus:
        log = Noted(inbox, lambda event: bus.putter.put_nowait("k", event.id) and None)
        async with consuming_with(inbox, source, log, bus=bus.bus):
            source.put(1)
            await destination.asked.wait()
            assert inbox.said == ["begin 1", "handle 1"]
            destination.gate.set()
            await until(lambda: source.settled)
    assert inbox.said == ["begin 1", "handle 1", "commit 1"]
    assert destination.received == [b'"1"']


async def test_an_event_that_is_refused_rolls_back_the_handler_that_put_it():
    source, inbox = Source(), Inbox()
    async with running(entry(max_event_bytes=3)) as bus:
        log = Noted(inbox, lambda event: bus.putter.put_nowait("k", "too large") and None)
        async with consuming_with(inbox, source, log, bus=bus.bus, on_error=REJECT):
            source.put(1)
            await until(lambda: source.settled)
    assert inbox.said == ["begin 1", "handle 1", "roll back 1 NotDurable"]
    assert "is 11 bytes as json, and fake:default takes at most 3" in source.reasons["1"]


# ---- trouble of the database


async def test_while_the_database_is_away_events_wait_and_that_costs_no_attempt_and_is_said_once(caplog):
    source = Source()
    inbox = Inbox(begin=[OSError("no route\nto host"), OSError("no route to host"), OSError(), None])
    async with consuming_with(inbox, source, Noted(inbox), attempts=1, max_workers=1) as consumer:
        source.put(1, 2)
        await until(lambda: len(source.settled) == 2)
    assert inbox.said == [*["begin 1"] * 4, "handle 1", "commit 1", "begin 2", "handle 2", "commit 2"]
    assert (consumer.stats.handled, consumer.stats.failed, consumer.stats.dead) == (2, 0, 0)
    assert [each for each in caplog.messages if "postgres:shop" in each] == [
        "handler.shipping.ship: postgres:shop cannot be used, events wait: no route to host",
        "handler.shipping.ship: postgres:shop cannot be used, events wait: OSError",
        "handler.shipping.ship: postgres:shop can be used again",
    ]


async def test_the_status_has_the_trouble_while_it_lasts():
    source, inbox = Source(), Inbox(begin=[OSError("away")] * 10_000)
    async with consuming_with(inbox, source, Noted(inbox)) as consumer:
        source.put(1)
        await until(lambda: consumer.stats.trouble)
        assert consumer.stats.trouble == "postgres:shop cannot be used, events wait: away"
        inbox.script["begin"].clear()
        await until(lambda: source.settled)
        assert consumer.stats.trouble == ""


async def test_trouble_of_the_source_is_not_hidden_by_that_of_the_database():
    source, inbox = Source(), Inbox(begin=[OSError("away")])
    consumer = made(source, Noted(inbox), inbox="shop")
    consumer.invoker.inbox, consumer.invoker.listener = inbox, "shipping.ship"
    consumer.invoker.stats = consumer.stats
    consumer.stats.trouble = "the broker is away"
    await consumer.invoker.call(ReceivedEvent(b"body", "kind", "orders", "1"))
    assert inbox.said == ["begin 1", "begin 1", "handle 1", "commit 1"]
    assert consumer.stats.trouble == "the broker is away"


async def test_an_event_whose_mark_another_transaction_holds_waits_without_a_word(caplog):
    source, inbox = Source(), Inbox(begin=[MarkHeld(), MarkHeld(), None])
    async with consuming_with(inbox, source, Noted(inbox), attempts=1) as consumer:
        source.put(1)
        await until(lambda: source.settled)
        assert consumer.stats.trouble == ""
    assert inbox.said == ["begin 1"] * 3 + ["handle 1", "commit 1"]
    assert (consumer.stats.handled, consumer.stats.failed) == (1, 0)
    assert "postgres:shop" not in caplog.text


async def test_a_stop_gives_an_event_that_waits_for_the_database_back_to_its_source():
    source, inbox = Source(), Inbox(begin=[OSError("away")] * 10_000)
    log = Noted(inbox)
    async with consuming_with(inbox, source, log) as consumer:
        source.put(1)
        await until(lambda: consumer.stats.trouble)
        inbox.stopping = True
        consumer.stop()
        await until(lambda: source.settled)
    assert source.settled == [("requeue", "1")]
    assert log.begun == []


@pytest.mark.parametrize("error", [OSError("away"), MarkHeld()], ids=["away", "held"])
async def test_an_event_that_its_source_takes_back_meanwhile_is_not_called(error):
    source, inbox = Source(), Inbox(begin=[error] * 10_000)
    log = Noted(inbox)
    invoker = made(source, log, inbox="shop").invoker
    invoker.inbox, invoker.listener = inbox, "shipping.ship"
    event = ReceivedEvent(b"body", "kind", "orders", "1")
    calling = asyncio.create_task(invoker.call(event))
    await until(lambda: len(inbox.said) > 2)
    event.revoked = True
    disposition = await asyncio.wait_for(calling, HANG)
    assert (disposition.kind, log.begun) == (REQUEUE, [])


async def test_events_without_an_id_are_handled_and_it_is_said_once_that_the_inbox_cannot_know_their_repeats(caplog):
    source, inbox = Source(), Inbox()
    async with consuming_with(inbox, source, Noted(inbox), max_workers=1) as consumer:
        source.put("")
        await until(lambda: len(source.settled) == 1)
        source.put("")
        await until(lambda: len(source.settled) == 2)
    assert inbox.said == ["begin", "handle", "commit"] * 2
    assert (consumer.stats.handled, consumer.stats.repeats) == (2, 0)
    assert caplog.text.count("gets events without an id, of which the inbox cannot know repeats") == 1


async def test_a_body_that_cannot_be_read_needs_no_transaction():
    def unreadable(event):
        raise PoisonEvent("no")

    source, inbox = Source(), Inbox()
    async with consuming_with(inbox, source, Noted(inbox), decode=unreadable):
        source.put(1)
        await until(lambda: source.settled)
    assert (source.settled, inbox.said) == ([("dead", "1")], [])

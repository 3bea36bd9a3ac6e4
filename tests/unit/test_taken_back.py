"""Events with an order that are requeued keep their place, and events that the source took back are not begun."""

import asyncio
from contextlib import asynccontextmanager

from evbus_like.engine.receiving.consumer import Consumer
from evbus_like.engine.receiving.handler import Handler, HandlerOptions
from evbus_like.engine.receiving.invoker import HandlerInvoker
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.receiving.rules import REQUEUE
from evbus_like.engine.receiving.subscription import Subscription
from evbus_like.testing import eventually


class Belt:
    """A source that gives what is laid on it, and notes what becomes of it; it has no `retry`."""

    name, retries, timeout, max_event_bytes = "belt:default", False, 5.0, 1000

    def __init__(self):
        self.laid = asyncio.Queue()
        self.acked, self.requeued = [], []

    async def subscribe(self, subscription):
        return "feed"

    async def receive(self, feed):
        return await self.laid.get()

    async def ack(self, feed, events):
        self.acked += [event.id for event in events]

    async def requeue(self, feed, event):
        self.requeued.append(event.id)

    def redacted(self, text):
        return text

    async def dead(self, feed, event, reason):
        raise AssertionError(reason)

    async def unsubscribe(self, feed):
        pass

    async def close(self):
        pass


@asynccontextmanager
async def consuming(belt, call, **options):
    made = HandlerOptions("orders", ("created",), **options)
    caller = HandlerInvoker(Handler("handler.a.b", "a", "b", call, True, made), lambda event: event.raw, None, 1000)
    consumer = Consumer(caller, belt, Subscription("orders", ("created",), "a", "b"), lambda reason: None)
    running = asyncio.create_task(consumer.run())
    try:
        yield consumer
    finally:
        consumer.stop()
        await running


def event(name, order=None):
    return ReceivedEvent(b"", "created", "orders", name, order=order)


async def test_an_event_with_an_order_that_is_requeued_comes_again_before_those_behind_it():
    belt, seen = Belt(), []

    async def call(given):
        seen.append((given.id, given.redelivered))
        if given.id == "1" and len(seen) < 4:
            raise ValueError("not now")

    async with consuming(belt, call, on_error=REQUEUE) as consumer:
        belt.laid.put_nowait([event("1", "k"), event("2", "k")])
        await eventually(lambda: belt.acked == ["1", "2"])
    assert seen == [("1", False), ("1", True), ("1", True), ("1", True), ("2", False)]
    assert belt.requeued == []
    assert consumer.stats.requeued == 3


async def test_an_event_without_an_order_that_is_requeued_goes_back_to_the_source():
    belt = Belt()

    async def call(given):
        raise ValueError("not now")

    async with consuming(belt, call, on_error=REQUEUE):
        belt.laid.put_nowait([event("1")])
        await eventually(lambda: belt.requeued == ["1"])


async def test_an_event_that_the_source_took_back_is_not_begun_and_makes_room():
    belt, seen, first = Belt(), [], asyncio.Event()

    async def call(given):
        seen.append(given.id)
        await first.wait()

    async with consuming(belt, call, max_workers=1) as consumer:
        events = [event(str(number)) for number in range(10)]
        belt.laid.put_nowait(events)
        await eventually(lambda: seen == ["0"])
        assert [each.id for each in events if each.busy] == ["0"]
        for each in events[1:9]:
            each.revoked = True
        first.set()
        await eventually(lambda: belt.acked == ["0", "9"])
        belt.laid.put_nowait([event("10")])
        await eventually(lambda: belt.acked == ["0", "9", "10"])
    assert seen == ["0", "9", "10"]
    assert consumer.stats.lost == 8


async def test_an_event_that_is_taken_back_while_it_waits_for_its_retry_is_not_handled_again():
    belt, seen, held = Belt(), [], event("1", "k")

    async def call(given):
        seen.append(given.id)
        if given.id == "1":
            raise ValueError("not now")

    async with consuming(belt, call, backoff=0.2):
        belt.laid.put_nowait([held, event("2", "k")])
        await eventually(lambda: seen == ["1"] and not held.busy)
        held.revoked = True
        await eventually(lambda: belt.acked == ["2"])
    assert seen == ["1", "2"]

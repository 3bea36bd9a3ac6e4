"""What the tests of receiving share: a scripted source, and consumers that run on it."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from evbus_like import handlers as marks
from evbus_like.engine.receiving.batch_invoker import BatchInvoker
from evbus_like.engine.receiving.batch_pool import BatchPool
from evbus_like.engine.receiving.consumer import Consumer
from evbus_like.engine.receiving.handler import Handler
from evbus_like.engine.receiving.inbox import InboxInvoker
from evbus_like.engine.receiving.invoker import HandlerInvoker
from evbus_like.engine.receiving.pool import WorkerPool
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.receiving.subscription import Subscription
from tests.unit.fakes import HANG


class Source:
    """A source in memory, of one queue. It keeps what is not settled, and gives it again when a feed ends.

    `script` maps a verb to the steps of its next calls: None (succeed), an exception (raise it), or an awaitable
    function. `settled` holds (verb, id) in the order in which events were settled.
    """

    name = "fake:default"
    timeout = 5.0
    max_event_bytes = 1000

    def __init__(self, retries: bool = False, batch: int = 100) -> None:
        self.retries = retries
        self.batch = batch
        self.queue: deque[ReceivedEvent] = deque()
        self.given: dict[ReceivedEvent, None] = {}  # in their order
        self.most_given = 0
        self.settled: list[tuple[str, str]] = []
        self.reasons: dict[str, str] = {}
        self.script: dict[str, deque[Any]] = {}
        self.calls: dict[str, int] = {}
        self.feed = 0
        self.broken: Exception | None = None
        self._change = asyncio.Event()

    def put(self, *ids: str | int, **facts: Any) -> None:
        for each in ids:
            self.queue.append(ReceivedEvent(b"body", "kind", "orders", str(each), **facts))
        self._change.set()

    def lose(self, error: Exception | None = None) -> None:
        """Let `receive` raise."""
        self.broken = error or ConnectionError("lost")
        self._change.set()

    async def subscribe(self, subscription: Subscription) -> int:
        await self._step("subscribe")
        self.feed += 1
        self.broken = None
        return self.feed

    async def receive(self, feed: int) -> list[ReceivedEvent]:
        await self._step("receive")
        while not self.queue and self.broken is None:
            self._change.clear()
            await self._change.wait()
        if self.broken is not None:
            raise self.broken
        events = [self.queue.popleft() for _ in range(min(self.batch, len(self.queue)))]
        self.given.update(dict.fromkeys(events))
        self.most_given = max(self.most_given, len(self.given))
        return events

    async def ack(self, feed: int, events: list[ReceivedEvent]) -> None:
        await self._step("ack")
        for event in events:
            self._settle(feed, event, "ack")

    async def requeue(self, feed: int, event: ReceivedEvent) -> None:
        await self._step("requeue")
        self._settle(feed, event, "requeue")
        self.queue.appendleft(self._again(event, event.attempt + 1))
        self._change.set()

    async def retry(self, feed: int, event: ReceivedEvent, delay: float) -> None:
        await self._step("retry")
        self._settle(feed, event, "retry")
        self.queue.append(self._again(event, event.attempt + 1))
        self._change.set()

    def redacted(self, text: str) -> str:
        return text

    async def dead(self, feed: int, event: ReceivedEvent, reason: str) -> None:
        await self._step("dead")
        self._settle(feed, event, "dead")
        self.reasons[event.id] = reason

    async def unsubscribe(self, feed: int) -> None:
        await self._step("unsubscribe")
        for event in reversed(list(self.given)):
            self.queue.appendleft(self._again(event, event.attempt))
        self.given.clear()

    async def close(self) -> None:
        await self._step("close")

    def _settle(self, feed: int, event: ReceivedEvent, verb: str) -> None:
        assert feed == self.feed, f"{verb} of a feed that is gone"
        assert event in self.given, f"{verb} of {event}, which is settled already"
        del self.given[event]
        self.settled.append((verb, event.id))

    def _again(self, event: ReceivedEvent, attempt: int) -> ReceivedEvent:
        return ReceivedEvent(
            event.raw,
            event.routing_key,
            event.service,
            event.id,
            event.headers,
            redelivered=True,
            attempt=attempt,
            order=event.order,
            content_type=event.content_type,
        )

    async def _step(self, verb: str) -> None:
        self.calls[verb] = self.calls.get(verb, 0) + 1
        steps = self.script.get(verb)
        step = steps.popleft() if steps else None
        if isinstance(step, BaseException):
            raise step
        if step is not None:
            await step()


async def hang() -> None:
    """A step that never ends by itself."""
    await asyncio.Event().wait()


class Log:
    """Handles events by a function and notes the ids that it was called with, and those that it was done with."""

    def __init__(self, function: Callable[[ReceivedEvent], Any] | None = None) -> None:
        self.begun: list[str] = []
        self.done: list[str] = []
        self.function = function

    async def __call__(self, event: ReceivedEvent) -> None:
        self.begun.append(event.id)
        if self.function is not None:
            result = self.function(event)
            if asyncio.iscoroutine(result):
                await result
        self.done.append(event.id)


class ObservedConsumer(Consumer):
    """A consumer that keeps the reasons for which its handler has shut the worker down."""

    def __init__(self, invoker: HandlerInvoker, source: Any, subscription: Subscription) -> None:
        self.shutdowns: list[str] = []
        pool = BatchPool if isinstance(invoker, BatchInvoker) else WorkerPool
        super().__init__(invoker, source, subscription, self.shutdowns.append, pool=pool)


def made(
    source: Any,
    call: Any,
    bus: Any = None,
    is_async: bool = True,
    decode: Any = None,
    declared: dict[str, Any] | None = None,
    **options: Any,
) -> ObservedConsumer:
    """A consumer of a function that takes an event."""

    def function(event: Any) -> None:
        return None

    marks.handler("orders", "kind", **options)(function)
    (chosen,) = getattr(function, marks.MARK)
    assert not chosen.problem()
    handler = Handler("handler.shipping.ship", "shipping", "ship", call, is_async, chosen, declared or {})
    subscription = Subscription("orders", ("kind",), "shipping", "ship", prefetch=chosen.most_open)
    kind: Any = InboxInvoker if chosen.inbox else BatchInvoker if chosen.batch else HandlerInvoker
    caller = kind(handler, decode or (lambda event: event.raw), bus, source.max_event_bytes)
    return ObservedConsumer(caller, source, subscription)


@asynccontextmanager
async def consuming(source: Any, call: Any, **options: Any) -> AsyncIterator[ObservedConsumer]:
    """A consumer that runs; it is stopped in the end."""
    consumer = made(source, call, **options)
    task = asyncio.create_task(consumer.run())
    try:
        yield consumer
    finally:
        consumer.stop()
        _, late = await asyncio.wait([task], timeout=HANG)
        task.cancel()
        await asyncio.wait([task], timeout=HANG)
        assert not late, "the consumer did not stop"
        await task

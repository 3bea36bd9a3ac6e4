"""What the unit tests put in place of brokers, and small helpers that more than one of them uses."""

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from evbus_like.engine.bus import Bus
from evbus_like.engine.event import Event
from evbus_like.engine.failure import Failure
from evbus_like.engine.put import Putter
from evbus_like.engine.sending.destination import Asks, LaneOptions
from evbus_like.engine.sending.lane import Lane
from evbus_like.engine.sending.router import Entry
from evbus_like.engine.sending.serializer import Serializer
from evbus_like.serialize import json_serialize

HANG = 60.0  # seconds after which a test that waits has failed; only stops a hang, also on a busy machine
FAST = {"retry_base": 0.0001, "retry_cap": 0.001, "refused_cap": 0.001}


class Destination:
    """A destination that does what its scripts say, one step for each call, and succeeds when they are at their end.

    A step is None (succeed), an exception (raise it), "hang", a list of outcomes, or a function of the events.
    `received` holds the bodies that were confirmed, `sent` every body of every batch, repeats and all.
    """

    publish_now: Callable[[Sequence[Event]], int] | None = None
    on_blocked: Callable[[str | None], None]
    asks: Asks | None = None
    on_asks: Callable[[], None]

    def __init__(self, publish: Sequence[Any] = (), open: Sequence[Any] = (), close: Sequence[Any] = ()) -> None:
        self.script = {"publish": deque(publish), "open": deque(open), "close": deque(close)}
        self.calls = {"publish": 0, "open": 0, "close": 0}
        self.batches: list[list[bytes]] = []
        self.received: list[bytes] = []
        self.events: list[Event] = []
        self.is_open = False
        self.busy = False

    @property
    def sent(self) -> list[bytes]:
        return [body for batch in self.batches for body in batch]

    async def open(self) -> None:
        await self._step("open")
        self.is_open = True

    async def publish(self, events: Sequence[Event]) -> list[Exception | None] | None:
        assert self.is_open, "published before open"
        assert not self.busy, "two publishes at once"
        self.busy = True
        try:
            self.batches.append([event.body for event in events])
            step = await self._step("publish")
            outcomes = step(events) if callable(step) else step
            for event, outcome in zip(events, outcomes or [None] * len(events), strict=False):
                if outcome is None:
                    self.received.append(event.body)
                    self.events.append(event)
            return outcomes
        finally:
            self.busy = False

    async def close(self) -> None:
        self.is_open = False
        await self._step("close")

    async def _step(self, name: str) -> Any:
        self.calls[name] += 1
        step = self.script[name].popleft() if self.script[name] else None
        if isinstance(step, BaseException):
            raise step
        if step == "hang":
            await asyncio.Event().wait()
        return step


class Broken(Destination):
    """A destination whose every publish raises a fresh error."""

    def __init__(self, make: Callable[[], BaseException]) -> None:
        super().__init__()
        self.make = make

    async def publish(self, events: Sequence[Event]) -> None:
        self.batches.append([event.body for event in events])
        raise self.make()


def dump_json(body: Any) -> bytes:
    """The JSON plugin's dump, without a hub."""
    return json_serialize.dump(None, body)


JSON = Serializer("json", "application/json", dump_json)


@dataclass
class Running:
    """A bus that runs, and what its tests look at."""

    bus: Bus
    putter: Putter
    failures: list[Failure]
    task: asyncio.Task[None]
    lanes: list[Lane] = field(default_factory=list)

    async def stop(self, timeout: float = 5.0) -> Any:
        async with asyncio.timeout(HANG + timeout):
            return await self.bus.stop(timeout)


def entry(
    destination: Any = None,
    name: str = "fake:default",
    matches: Callable[[str], bool] = lambda profile: True,
    serializer: Serializer = JSON,
    report: Callable[[Failure], None] = lambda failure: None,
    **options: Any,
) -> Entry:
    """One profile of the router, made for a fake destination."""
    lane = Lane(name, destination or Destination(), LaneOptions(**{**FAST, **options}), report)
    return Entry(matches, lane, serializer)


@asynccontextmanager
async def running(
    *entries: Entry, max_events: int = 100_000, timeout: float = 5.0, outbox: Any = None
) -> AsyncIterator[Running]:
    """A running bus over these entries; it is stopped at the end, whatever it still holds."""
    failures: list[Failure] = []
    bus = Bus(failures.append, max_events)
    for each in entries:
        each.lane.report = failures.append
    task = asyncio.create_task(bus.run(entries, outbox))
    async with asyncio.timeout(HANG):
        await bus.join()
    try:
        yield Running(bus, Putter(bus, timeout), failures, task, [each.lane for each in entries])
    finally:
        async with asyncio.timeout(HANG):
            await bus.stop(0.2)
            await asyncio.wait([task])


async def until(condition: Callable[[], Any]) -> None:
    """Wait until a condition holds; a hang is stopped."""
    async with asyncio.timeout(HANG):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event to await
            await asyncio.sleep(0.001)


def same(one: Any, other: Any) -> bool:
    """Whether two plain values are equal in type as well, NaN being itself."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float) and math.isnan(one):
        return math.isnan(other)
    if isinstance(one, float):
        return one == other and math.copysign(1, one) == math.copysign(1, other)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        left, right = list(one.items()), list(other.items())
        return len(left) == len(right) and all(
            same(a, c) and same(b, d) for (a, b), (c, d) in zip(left, right, strict=True)
        )
    return bool(one == other)

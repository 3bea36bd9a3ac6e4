"""A sender of numbered events, which checks afterwards what arrived."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from tests.faults.sites import ReceivedMessage

KEYS = ("orders.eu", "orders.us", "stock")


@dataclass(frozen=True)
class FaultCosts:
    """The cost of a fault: how many events were put, arrived, arrived again, and are missing."""

    put: int
    arrived: int
    repeats: int
    missing: int


class Sender:
    """Puts events, numbered in order for each routing key, and keeps a record of those that were accepted."""

    def __init__(self) -> None:
        self.events: dict[str, tuple[str, int]] = {}  # id: key, number
        self.put_count = 0
        self._numbers = {key: itertools.count() for key in KEYS}
        self._keys = itertools.cycle(KEYS)

    def note(self, event_id: str, key: str, number: int) -> None:
        """Record an event whose put returned."""
        assert event_id not in self.events, "two events have one id"
        self.events[event_id] = (key, number)

    async def put(self, hub: Any, key: str | None = None, size: int = 0, **options: Any) -> Any:
        """Put the next event of a key, or of the next key if none is given."""
        key = key or next(self._keys)
        number = next(self._numbers[key])
        receipt = await hub.evbus.broker.put(key, body(key, number, size), **options)
        self.note(receipt.id, key, number)
        return receipt

    def put_nowait(self, hub: Any, key: str | None = None, size: int = 0, **options: Any) -> str:
        """Put the next event of a key without waiting."""
        key = key or next(self._keys)
        number = next(self._numbers[key])
        event_id = hub.evbus.broker.put_nowait(key, body(key, number, size), **options)
        self.note(event_id, key, number)
        return event_id

    @asynccontextmanager
    async def streaming(self, hub: Any, size: int = 0, **options: Any) -> AsyncIterator[None]:
        """Put one event after another during the block, and check the account regularly; raises what a put raised."""

        async def stream() -> None:
            for count in itertools.count():
                await self.put(hub, size=size, **options)
                await asyncio.sleep(0.002)
                if count % 50 == 0:
                    assert hub.evbus.init.account().balanced

        task = asyncio.create_task(stream())
        try:
            yield
        finally:
            task.cancel()
            (outcome,) = await asyncio.gather(task, return_exceptions=True)
        if isinstance(outcome, BaseException) and not isinstance(outcome, asyncio.CancelledError):
            raise outcome

    def check(self, account: Any, arrived: Iterable[ReceivedMessage], at_most: int | None = None) -> FaultCosts:
        """Compare what arrived with what was put and with the account; gives the costs.

        `at_most` is the highest number of repeats allowed, by default the number of retries in the account. The account
        is that of a bus with one lane that got all events of this sender.
        """
        arrived = list(arrived)
        (lane,) = account.lanes
        given_up = lane.dead_lettered + lane.dropped + lane.spilled + lane.remaining
        assert lane.accepted == lane.delivered + given_up, "the account does not balance"
        # A put that was cancelled at the end of the stream may have been accepted, and is not recorded.
        assert 0 <= account.put - len(self.events) <= 1
        first = {message.id: (message.key, message.number) for message in reversed(arrived)}
        unknown = first.keys() - self.events.keys()
        assert len(unknown) <= account.put - len(self.events), f"these were never put: {sorted(unknown)[:3]}"
        missing = self.events.keys() - first.keys()
        assert len(missing) <= given_up, f"{len(missing)} are missing, but the account has {given_up} as not delivered"
        assert len(first) >= lane.delivered, f"the account says {lane.delivered} delivered, {len(first)} arrived"
        in_order(arrived)
        repeats = len(arrived) - len(first)
        allowed = account.retries if at_most is None else at_most
        assert repeats <= allowed, f"{repeats} repeats, at most {allowed} are allowed"
        return FaultCosts(len(self.events), len(first), repeats, len(missing))


def body(key: str, number: int, size: int = 0) -> dict[str, Any]:
    """Build the body of an event, of at least `size` bytes."""
    return {"key": key, "number": number, **({"filler": "x" * size} if size else {})}


def in_order(arrived: Iterable[ReceivedMessage]) -> None:
    """Raise AssertionError where the first arrivals of a key are not in the order in which they were put."""
    latest: dict[str, int] = {}
    seen: set[str] = set()
    for message in arrived:
        if message.id not in seen:
            seen.add(message.id)
            assert message.number > latest.get(message.key, -1), f"{message} came after {latest[message.key]}"
            latest[message.key] = message.number

"""A lane: one destination's queue, its bounds and its account; `worker.py` empties it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice

from evbus_like.engine.account import LaneAccount
from evbus_like.engine.destination import Destination, LaneOptions
from evbus_like.engine.errors import PoisonEvent, TransientError
from evbus_like.engine.event import Event
from evbus_like.engine.failure import Failure, Report
from evbus_like.engine.receipt import DELIVERED


class Lane:
    """Holds the events on their way to one destination, in order.

    An event leaves the queue when it is delivered or dead-lettered, never before, so what the queue holds is what
    remains. `state` is "starting", "open", "retrying" or "refused"; "closed" at the end. `error` is the latest trouble.
    """

    def __init__(self, name: str, destination: Destination, options: LaneOptions, report: Report) -> None:
        self.name = name
        self.destination = destination
        self.options = options
        self.report = report
        self.state = "starting"
        self.error: BaseException | None = None
        self.queue: deque[Event] = deque()
        self.bytes = 0
        self.full = False  # whether new events must wait; those that the bus has taken already still come in
        self.filled = asyncio.Event()
        self.wake: Callable[[], object] = self.filled.set  # called when the first event comes into an empty queue
        self.room = asyncio.Event()
        self._max_events, self._max_bytes = options.max_events, options.max_bytes
        self.max_event_bytes = options.max_event_bytes or options.max_bytes
        self._account = LaneAccount(name)

    @property
    def trouble(self) -> str:
        """What keeps the lane from delivering, for people."""
        return f"{self.state}: {self.error}" if self.error is not None else self.state

    def offer(self, events: Sequence[Event], size: int) -> None:
        """Take in serialized events, whose bodies have `size` bytes together."""
        idle = not self.queue
        self.queue.extend(events)
        self.bytes += size
        self.full = len(self.queue) >= self._max_events or self.bytes >= self._max_bytes
        self._account.accepted += len(events)
        if idle:
            self.wake()

    def head(self, most: int) -> list[Event]:
        """Give the oldest events, without taking them off: at most `most`, and a batch's bytes."""
        batch = list(islice(self.queue, min(most, self.options.batch_events)))
        if self.bytes > self.options.batch_bytes:
            size = 0
            for index, event in enumerate(batch):
                size += len(event.body)
                if size > self.options.batch_bytes and index:
                    return batch[:index]
        return batch

    def deliver(self, count: int = 1) -> None:
        """Take the oldest `count` events off: they were delivered."""
        queue = self.queue
        if count == len(queue):  # all of them, as a rule
            gone, size = list(queue), self.bytes
            queue.clear()
        else:
            gone = [queue.popleft() for _ in range(count)]
            size = sum([len(event.body) for event in gone])
        for event in gone:
            if event.receipt is not None:
                event.receipt.settle(self.name, DELIVERED)
        self._account.delivered += count
        self._free(size)

    def dead_letter(self, error: BaseException, attempts: int) -> None:
        """Take the oldest event off: it is given up."""
        event = self.queue.popleft()
        self._account.dead_lettered += 1
        self._free(len(event.body))
        if event.receipt is not None:
            event.receipt.settle(self.name, error if isinstance(error, Exception) else PoisonEvent(str(error)))
        self.report(Failure(error, event, self.name, attempts))

    def set_aside(self) -> Event:
        """Take the oldest event off, to be put back with `put_back` in the same step."""
        return self.queue.popleft()

    def put_back(self, events: list[Event]) -> None:
        """Put events back at the head, in their order."""
        self.queue.extendleft(reversed(events))

    def retried(self, count: int) -> None:
        """Count events that are sent again."""
        self._account.retries += count

    def close(self) -> None:
        """Tell those who wait that no more will be delivered."""
        self.state = "closed"
        for event in self.queue:
            if event.receipt is not None:
                event.receipt.settle(
                    self.name, TransientError(f"the bus was stopped first; last trouble: {self.error}")
                )
        self.room.set()

    def account(self) -> LaneAccount:
        """Give the account as it stands now."""
        self._account.remaining = len(self.queue)
        self._account.error = str(self.error) if self.error is not None else ""
        return replace(self._account)

    def _free(self, size: int) -> None:
        self.bytes -= size
        self.full = len(self.queue) >= self._max_events or self.bytes >= self._max_bytes
        self.room.set()

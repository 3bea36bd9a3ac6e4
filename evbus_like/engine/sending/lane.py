"""A lane: one destination's queue, its bounds and its account; `worker.py` empties it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import islice
from time import time
from typing import TYPE_CHECKING, Any

from evbus_like.engine.account import LaneAccount
from evbus_like.engine.errors import Dropped, PoisonEvent, TransientError
from evbus_like.engine.event import Event
from evbus_like.engine.failure import Failure, Report
from evbus_like.engine.receipt import DELIVERED, Receipt
from evbus_like.engine.sending.destination import Destination, LaneOptions
from evbus_like.engine.sending.overflow import Overflow

if TYPE_CHECKING:
    from evbus_like.engine.outbox import Outbox

Forward = Callable[[Event, str, Mapping[str, Any]], Awaitable[bool]]


class Lane:
    """Holds the events on their way to one destination, in order.

    An event leaves the queue when it is delivered or dead-lettered, or dropped as `when_full` says, so what the queue
    holds is what remains. `state` is "starting", "open", "retrying", "blocked" or "refused"; "closed" at the end.
    `error` is the latest trouble.

    Events that are stored in the outbox and have no room here are `behind`: they are read in their turn. While there
    are any, every further event goes behind them.
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
        self.full = False
        self.shut = False  # whether new events must wait; those that the bus has taken already still come in
        self.room: asyncio.Event | None = None  # made by the first who waits for some
        self.wake: Callable[[], object] = _nobody  # called when the first event comes into an empty queue
        self.in_flight = 0  # of the events at the head
        self.outbox: Outbox | None = None
        self.forward: Forward | None = None  # puts a dead letter to another profile
        self.held = 0  # events of this lane that wait for a commit, or for others that do
        self.storing = 0  # those of them that are being stored for it
        self.behind = 0
        self.last_seq = 0  # of the stored events that the queue holds or held
        self.keeps = False  # whether any of its events may be stored
        self._awaited: dict[int, Receipt] | None = None  # receipts of events that are behind
        self._account = LaneAccount(name)
        self._ending = "the bus was stopped first"
        self._heed(options)
        self._overflow: Overflow | None = None  # made at the first drop: a bus may have 10,000 lanes

    @cached_property
    def filled(self) -> asyncio.Event:
        """Whether there is an event, for a worker that waits for one."""
        return asyncio.Event()

    @property
    def trouble(self) -> str:
        """What keeps the lane from delivering, for people."""
        return f"{self.state}: {self.error}" if self.error is not None else self.state

    def _heed(self, options: LaneOptions) -> None:
        self.options = options
        self._max_events, self._max_bytes = options.max_events, options.max_bytes
        self.max_event_bytes = options.max_event_bytes or options.max_bytes
        self.blocks = options.when_full == "block" and not options.durable
        self.plain = self.blocks and not self.behind  # whether events are simply taken in, and wait for room
        self.keeps = self.keeps or options.durable or options.when_full == "spill"
        self._measure()

    # ---- in

    def open(self, outbox: Outbox | None, forward: Forward | None = None) -> None:
        """Take over what an earlier run, or an earlier life of this lane, left in the outbox."""
        self.outbox, self.forward = outbox, forward
        if outbox is not None:
            self.behind = outbox.counts().pending.get(self.name, 0)
            self.keeps = self.keeps or bool(self.behind)
            self.plain = self.plain and not self.behind
            self._account.accepted += self.behind - self._account.spilled
            self._account.spilled = 0

    def renew(self, destination: Destination, options: LaneOptions) -> None:
        """Take in events by other options from here on; what it holds stays. The worker has to be renewed, too."""
        self.destination, self._ending = destination, "the bus was stopped first"
        self._heed(options)
        if self.room is not None:
            self.room.set()

    def leave(self) -> None:
        """Note that the profile is gone: whoever waits for room here finds another route."""
        self._ending = "the profile was removed first"
        self.blocks = self.shut = False
        if self.room is not None:
            self.room.set()

    def offer(self, events: Sequence[Event], size: int) -> None:
        """Take in serialized events, whose bodies have `size` bytes together."""
        idle = not self.queue
        self.queue.extend(events)
        self.bytes += size
        self._measure()
        self._account.accepted += len(events)
        if idle:
            self.wake()

    def stores(self) -> bool:
        """Whether the next event must be stored."""
        if self.options.durable or self.behind or self.storing:
            return self.outbox is not None
        return self.full and self.options.when_full == "spill"

    def take(self, event: Event, stored: bool) -> None:
        """Take in one event, or drop one, as `when_full` says."""
        if stored and self.state == "closed":  # the disk was slow, and this is for the next start
            self._account.spilled += 1
        # A lane that blocks stores nothing, but what was being stored when a reload made it one still comes. That must
        # not go behind: routes know the lane as plain, so that later events would overtake it.
        if stored and (self.behind or (not self.blocks and (self.full or not self.options.durable))):
            self.behind += 1
            if event.receipt is not None:
                self._awaited = self._awaited or {}
                self._awaited[event.seq] = event.receipt
            self._account.accepted += 1
            self.wake()
        elif self.full and not stored and self.options.when_full == "drop_new":
            self.drop(event)
        else:
            if stored:
                self.last_seq = event.seq
            elif self.full and self.options.when_full == "drop_old":
                self._drop_old()
            self.offer((event,), len(event.body))

    def drop(self, event: Event) -> None:
        """Drop a new event."""
        self._account.accepted += 1
        self._drop(event, "drop_new")

    def load(self, rows: Sequence[tuple[int, Event]]) -> None:
        """Take in the oldest of the events that are behind; where there are none left, the rest had rotted on the disk.

        The outbox has made dead letters of those.
        """
        if not rows:
            self._account.dead_lettered += self.behind
        self.behind = max(0, self.behind - len(rows)) if rows else 0
        for seq, event in rows:
            event.seq = self.last_seq = seq
            event.receipt = self._awaited.pop(seq, None) if self._awaited else None
            self.bytes += len(event.body)
            self.queue.append(event)
        self._measure()
        self.plain = self.blocks and not self.behind
        self._spare_the_disk()

    # ---- out

    def head(self, most: int) -> list[Event]:
        """Give the oldest events, without taking them off: at most `most`, and a batch's bytes."""
        most = min(most, self.options.batch_events)
        batch = list(self.queue) if len(self.queue) <= most else list(islice(self.queue, most))
        if self.bytes > self.options.batch_bytes:
            size = 0
            for index, event in enumerate(batch):
                size += len(event.body)
                if size > self.options.batch_bytes and index:
                    return batch[:index]
        return batch

    def deliver(self, count: int = 1, answer: Any = None, attempts: int = 1) -> None:
        """Take the oldest `count` events off: they were delivered; `answer` is what the destination said of them."""
        queue = self.queue
        if count == len(queue):  # all of them, as a rule
            gone, size = list(queue), self.bytes
            queue.clear()
        else:
            gone = [queue.popleft() for _ in range(count)]
            size = sum([len(event.body) for event in gone])
        for event in gone:
            if event.receipt is not None:
                event.receipt.settle(self.name, DELIVERED, attempts, answer)
        if self.keeps and self.outbox is not None and (seqs := [event.seq for event in gone if event.seq]):
            self.outbox.settle(self.name, seqs)
        self._account.delivered += count
        self._free(size)

    def dead_letter(self, error: BaseException, attempts: int) -> None:
        """Take the oldest event off: it is given up."""
        event = self.queue.popleft()
        self._account.dead_lettered += 1
        self._free(len(event.body))
        if event.receipt is not None:
            final = error if isinstance(error, Exception) else PoisonEvent(str(error))
            event.receipt.settle(self.name, final, attempts)
        self.report(Failure(error, event, self.name, attempts))

    def strike_off(self, event: Event) -> None:
        """Take an event out of the outbox, if it is there, for the next start must not send it."""
        if self.outbox is not None and event.seq:
            self.outbox.settle(self.name, [event.seq])

    def set_aside(self) -> Event:
        """Take the oldest event off, to be put back with `put_back` in the same step."""
        return self.queue.popleft()

    def put_back(self, events: list[Event]) -> None:
        """Put events back at the head, in their order."""
        self.queue.extendleft(reversed(events))

    def retried(self, count: int) -> None:
        """Count events that are sent again."""
        self._account.retries += count

    # ---- the end

    def unstored(self) -> list[Event]:
        """Give the events of the queue that are in this process alone."""
        return [event for event in self.queue if not event.seq]

    def stored(self, events: Sequence[Event], seqs: Sequence[int]) -> None:
        """Note that events which `unstored` gave are stored now; others may have come meanwhile."""
        numbers = dict(zip(events, seqs, strict=True))
        for index, event in enumerate(self.queue):
            if event in numbers:
                self.queue[index] = copy = event.copy()  # other lanes may share the event
                copy.seq = numbers[event]

    def close(self) -> None:
        """Tell those who wait that no more will be delivered; what is stored counts as spilled from here on."""
        self.state = "closed"
        self._account.spilled = self.behind + sum(1 for event in self.queue if event.seq)
        stopped = TransientError(f"{self._ending}; last trouble: {self.error}")
        for receipt in (*(event.receipt for event in self.queue), *(self._awaited or {}).values()):
            if receipt is not None:
                receipt.settle(self.name, stopped)
        self._awaited = None
        if self.room is not None:
            self.room.set()

    def abandon(self) -> int:
        """Let go, once closed, of what it holds; what is in the outbox stays there, the rest is dropped: how many?"""
        lost = len(self.unstored())
        self.behind += len(self.queue) - lost
        self.queue.clear()
        self.bytes = self.last_seq = 0
        self._measure()
        if lost:
            self._account.dropped += lost
            self._overflow = self._overflow or Overflow(self.name)
            self._overflow.counts["removed"] += lost
        return lost

    def status(self) -> dict[str, Any]:
        """Give what there is to know of the lane now, as plain data; cheap, and callable at any time."""
        account, head = self.account(), next(iter(self.queue), None)
        return {
            "state": self.state,
            "waiting": len(self.queue) + self.behind,
            "queued": len(self.queue),
            "bytes": self.bytes,
            "behind": self.behind,
            "in_flight": self.in_flight,
            "delivered": account.delivered,
            "retried": account.retries,
            "dropped": account.drops,
            "dead": account.dead_lettered,
            "oldest_age": max(0.0, time() - head.timestamp) if head is not None else 0.0,
            "trouble": account.error,
        }

    def account(self) -> LaneAccount:
        """Give the account as it stands now."""
        self._account.remaining = len(self.queue) + self.behind - self._account.spilled
        self._account.error = str(self.error) if self.error is not None else ""
        self._account.drops = dict(self._overflow.counts) if self._overflow is not None else {}
        return replace(self._account)

    # ---- within

    def _drop_old(self) -> None:
        """Drop the oldest event that is not on its way already, or none if all are."""
        if self.in_flight < len(self.queue):
            event = self.queue[self.in_flight]
            del self.queue[self.in_flight]
            self._free(len(event.body))
            self.strike_off(event)  # an earlier life of the lane may have stored it
            self._drop(event, "drop_old")

    def _drop(self, event: Event, policy: str) -> None:
        self._account.dropped += 1
        self._overflow = self._overflow or Overflow(self.name)
        self._overflow.note(policy, self.trouble)
        if event.receipt is not None:
            event.receipt.settle(self.name, Dropped(f"{self.name} was full ({policy}; {self.trouble})"))

    def _free(self, size: int) -> None:
        was_full = self.full
        self.bytes -= size
        self._measure()
        if was_full and self.options.when_full == "spill":
            self._spare_the_disk()
        if self.room is not None:
            self.room.set()

    def _spare_the_disk(self) -> None:
        """Tell those who wait for the outbox, if the lane can do without it now."""
        if self.outbox is not None and not self.stores():
            self.outbox.recheck_room()

    def _measure(self) -> None:
        self.full = len(self.queue) >= self._max_events or self.bytes >= self._max_bytes
        self.shut = self.full and self.blocks


def _nobody() -> None:
    """Wake nobody: the lane has no worker yet."""

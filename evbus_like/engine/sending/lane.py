"""A lane: the queue of one destination, with its bounds and its account; a worker sends what it holds."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import islice
from time import time
from typing import TYPE_CHECKING, Any

from evbus_like.engine import event_log, expiry
from evbus_like.engine.account import LaneAccount
from evbus_like.engine.dead_reasons import DeadReasons
from evbus_like.engine.errors import Dropped, Expired, PoisonEvent, TransientError
from evbus_like.engine.event import Event
from evbus_like.engine.failure import Failure, Report
from evbus_like.engine.histogram import NOTHING, Histogram
from evbus_like.engine.receipt import DELIVERED, Receipt
from evbus_like.engine.sending.destination import Destination, LaneOptions
from evbus_like.engine.sending.overflow import Overflow

if TYPE_CHECKING:
    from evbus_like.engine.outbox import Outbox
    from evbus_like.engine.rate import Slot
    from evbus_like.engine.shared_rate import SharedLimit

NO_LIMIT = 2**63
DAMAGED = "it was damaged on the disk"
Forward = Callable[[Event, str, Mapping[str, Any]], Awaitable[bool]]


class LaneClosed(TransientError):
    """The outcome of an event that was still in a lane when that was closed."""


class Lane:
    """Holds the events for one destination, in order.

    An event leaves the queue when it is delivered, dead-lettered, or dropped by `when_full`. `state` is "starting",
    "open", "retrying", "blocked", "refused" or, at the end, "closed". `error` is the latest failure.

    `behind` counts events that are only in the outbox, because the queue has no room for them. While there are any,
    new events are added behind them.
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
        self.puts_wait = False  # whether puts must wait; events that the bus has accepted already are still added
        self.room: asyncio.Event | None = None  # created by the first put that waits
        self.delivered_bytes = 0
        self._publish: Histogram | None = None  # created at the first publish, as a bus may have 10,000 lanes
        self.in_flight = 0  # events at the head that are being sent
        self.outbox: Outbox | None = None
        self.forward: Forward | None = None  # puts a dead letter to another profile
        self.on_asks: Callable[[], None] = _nobody  # called when what puts ask has changed
        self._wake_worker: Callable[[], object] = _no_worker  # called when an event is added to an empty queue
        self.uncommitted = 0  # events for this lane that wait for a commit, their own or an earlier one
        self.being_stored = 0  # those of them that are stored for this lane
        self.behind = 0
        self.paused = ""  # why it sends nothing for now, because an operator says so
        # Where it is noted until when its rate is used up; None: in this process.
        self.slot: Slot | SharedLimit | None = None
        self.limited = 0  # batches that waited because of the rate
        self.last_seq = 0  # the number of the newest stored event that was added to the queue
        self.may_be_stored = False  # whether any of its events may be stored
        self.may_expire = False  # whether any of its events may have an expiry
        self._awaited: dict[int, Receipt] | None = None  # receipts of events that are behind, by number
        self._account = LaneAccount(name)
        self._ending = "the bus was stopped first"
        self._is_logged = False  # each delivered event
        self._apply_options(options)
        self._overflow: Overflow | None = None  # created at the first drop: a bus may have 10,000 lanes
        self._dead: DeadReasons | None = None  # the same

    @cached_property
    def filled(self) -> asyncio.Event:
        """Set when there is an event, for a worker that waits for one."""
        return asyncio.Event()

    @property
    def trouble(self) -> str:
        """The state and the latest failure, for messages."""
        return f"{self.state}: {self.error}" if self.error is not None else self.state

    def _apply_options(self, options: LaneOptions) -> None:
        self.options = options
        self._max_events, self._max_bytes = options.max_events, options.max_bytes
        self.max_event_bytes = options.max_event_bytes or options.max_bytes
        self.max_header_bytes = options.max_header_bytes or NO_LIMIT
        self.blocks = options.when_full == "block" and not options.durable
        self.asks = self.destination.asks
        self.direct = self.blocks and not self.behind  # whether events go straight into the queue
        self.may_be_stored = self.may_be_stored or options.durable or options.when_full == "spill"
        self.may_expire = self.may_expire or options.expires is not None
        self._measure()

    # ---- the worker

    def attach_worker(self, state: str, wake: Callable[[], object]) -> None:
        """Start with a new worker or destination; `wake` is called when an event is added to an empty queue."""
        self._wake_worker = wake
        self.set_state(state)

    def set_state(self, state: str, error: BaseException | None = None) -> None:
        """Record the state of the destination and its latest failure."""
        self.state, self.error = state, error

    def set_in_flight(self, count: int) -> None:
        """Record how many events at the head are being sent: `drop_old` must not drop them."""
        self.in_flight = count

    def ask_again(self) -> None:
        """Ask the destination from now on as it has said last."""
        self.asks = self.destination.asks
        self.on_asks()

    # ---- in

    def open(self, outbox: Outbox | None, forward: Forward | None = None) -> None:
        """Continue with the events that an earlier run, or this lane before it was removed, left in the outbox."""
        self.outbox, self.forward, self._is_logged = outbox, forward, event_log.is_on()
        self.may_expire = self.may_expire or expiry.is_used
        if outbox is not None:
            self.behind = outbox.counts().pending.get(self.name, 0)
            self.may_be_stored = self.may_be_stored or bool(self.behind)
            self.direct = self.direct and not self.behind
            self._account.accepted += self.behind - self._account.spilled
            self._account.spilled = 0
        if self.behind:
            self._wake_worker()

    def reconfigure(self, destination: Destination, options: LaneOptions) -> None:
        """Use another destination and other options, keeping the events; its worker must reconnect."""
        self.destination, self._ending = destination, "the bus was stopped first"
        self._apply_options(options)
        self._wake_puts()

    def profile_removed(self) -> None:
        """Record that the profile is gone; puts that wait for room here look up their route again."""
        self._ending = "the profile was removed first"
        self.blocks = self.puts_wait = False
        self._wake_puts()

    async def wait_for_room(self) -> None:
        """Wait until the lane may have room again."""
        self.room = self.room or asyncio.Event()
        self.room.clear()
        await self.room.wait()

    def _wake_puts(self) -> None:
        if self.room is not None:
            self.room.set()

    def extend(self, events: Sequence[Event], size: int) -> None:
        """Add serialized events; `size` is the bytes of their bodies together."""
        idle = not self.queue
        self.queue.extend(events)
        self.bytes += size
        self._measure()
        self._account.accepted += len(events)
        if idle:
            self._wake_worker()

    def look_for_expired(self) -> None:
        """Look from now on for expired events before each batch: there is one that may expire, or it will come."""
        self.may_expire = True

    def expect(self, stored: bool) -> None:
        """Count an event that waits for a commit, and is `stored` for this lane by it or not."""
        self.uncommitted += 1
        self.being_stored += stored

    def arrived(self, stored: bool, count: int = 1) -> None:
        """Count off events that `expect` counted: their commit is done, or failed."""
        self.uncommitted -= count
        self.being_stored -= count * stored

    def must_store(self) -> bool:
        """Whether the next event must be stored in the outbox."""
        if self.options.durable or self.behind or self.being_stored:
            return self.outbox is not None
        return self.full and self.options.when_full == "spill"

    def accept(self, event: Event, stored: bool) -> None:
        """Add one event, or drop one by `when_full`."""
        if stored and self.state == "closed":  # the disk was slow; the next start sends it
            self._account.spilled += 1
        # A lane that blocks stores nothing, but a reload may have made it one while this event was being stored. It
        # must not go behind: routes take the lane for direct, so that later events would overtake it.
        if stored and (self.behind or (not self.blocks and (self.full or not self.options.durable))):
            self.behind += 1
            if event.receipt is not None:
                self._awaited = self._awaited or {}
                self._awaited[event.seq] = event.receipt
            self._account.accepted += 1
            self._wake_worker()
        elif self.full and not stored and self.options.when_full == "drop_new":
            self.drop(event)
        else:
            if stored:
                self.last_seq = event.seq
            elif self.options.when_full == "drop_old":
                while self.full and self._drop_old():  # several small ones may have to make room for a large one
                    pass
            self.extend((event,), len(event.body))

    def accept_stored(self, events: Sequence[Event]) -> None:
        """Add events that are stored for this lane; those that a durable lane has room for cost as much as one."""
        size = sum([len(event.body) for event in events])
        room = len(self.queue) + len(events) <= self._max_events and self.bytes + size <= self._max_bytes
        if room and self.options.durable and not self.behind and self.state != "closed":
            self.last_seq = events[-1].seq
            self.extend(events, size)
        else:
            for event in events:
                self.accept(event, stored=True)

    def replayed(self, event: Event) -> None:
        """Add an event of the outbox that was a dead letter; no order with new events is promised."""
        self.may_be_stored = True
        self.may_expire = self.may_expire or expiry.can_expire(event.headers)
        if self.full and self.state != "closed":
            self.behind += 1
            self._account.accepted += 1
            self._wake_worker()
        else:
            self.accept(event, stored=True)

    def drop(self, event: Event) -> None:
        """Drop a new event."""
        self._account.accepted += 1
        self._drop(event, "drop_new")

    def load(self, rows: Sequence[tuple[int, Event]]) -> None:
        """Add the oldest events that are behind, with their numbers, as read from the outbox.

        If there are none, the rest was damaged on the disk, and the outbox has made dead letters of it.
        """
        if not rows:
            self._count_dead(DAMAGED, self.behind)
        self.behind = max(0, self.behind - len(rows)) if rows else 0
        for seq, event in rows:
            event.seq = self.last_seq = seq
            event.attach(self._awaited.pop(seq, None) if self._awaited else None)
            self.bytes += len(event.body)
            self.queue.append(event)
            self.may_expire = self.may_expire or expiry.can_expire(event.headers)
        self._measure()
        self.direct = self.blocks and not self.behind
        self._recheck_outbox()

    # ---- out

    def head(self, most: int, stalled: int = 0) -> list[Event]:
        """Return the oldest events without removing them: at most `most`, and at most the bytes of one batch.

        The first `stalled` ones come on top of that.
        """
        queue, options = self.queue, self.options
        most = min(most, options.batch_events) + stalled
        batch = list(queue) if len(queue) <= most else list(islice(queue, most))
        if self.bytes > options.batch_bytes:
            size = 0
            for index, event in enumerate(batch[stalled:], stalled):
                size += len(event.body)
                if size > self.options.batch_bytes and index > stalled:
                    return batch[:index]
        return batch

    def deliver(self, count: int = 1, answer: Any = None, attempts: int = 1) -> None:
        """Remove the oldest `count` events, which were delivered; `answer` is the destination's, for the receipt."""
        queue = self.queue
        if count == len(queue):  # the usual case
            gone, size = list(queue), self.bytes
            queue.clear()
        else:
            gone = [queue.popleft() for _ in range(count)]
            size = sum([len(event.body) for event in gone])
        for event in gone:
            if event.receipt is not None:
                event.receipt.settle(self.name, DELIVERED, attempts, answer)
        if self.may_be_stored and self.outbox is not None and (seqs := [event.seq for event in gone if event.seq > 0]):
            self.outbox.settle(self.name, seqs)
        self._account.delivered += count
        self.delivered_bytes += size
        if self._is_logged:
            event_log.sent(gone, self.name, attempts)
        self._free(size)

    def dead_letter(self, error: BaseException, attempts: int) -> None:
        """Remove the oldest event, which is given up."""
        event = self.queue.popleft()
        self._count_dead(str(error), 1)
        self._account.last_dead_letter = f"{type(error).__name__}: {error}"
        self._free(len(event.body))
        if event.receipt is not None:
            final = error if isinstance(error, Exception) else PoisonEvent(str(error))
            event.receipt.settle(self.name, final, attempts)
        self.report(Failure(error, event, self.name, attempts))

    def remove_expired(self, at: int, most: int) -> list[tuple[int, Event]]:
        """Remove those of at most `most` events from a position that have expired; returns their positions, too."""
        now, queue = time(), self.queue
        gone = [
            (index, event)
            for index, event in enumerate(islice(queue, at, at + most), at)
            if event.headers is not None and expiry.expired(event.headers, now)
        ]
        if not gone:
            return gone
        queue.rotate(-at)
        places = {index for index, _ in gone}
        kept = [(queue.popleft(), index not in places) for index in range(at, gone[-1][0] + 1)]
        queue.extendleft([event for event, stays in reversed(kept) if stays])
        queue.rotate(at)
        self._account.expired += len(gone)
        self._free(sum([len(event.body) for _, event in gone]))
        if self.outbox is not None and (seqs := [event.seq for _, event in gone if event.seq > 0]):
            self.outbox.settle(self.name, seqs)
        for _, event in gone:
            if self._is_logged:
                event_log.expired(event, self.name)
            if event.receipt is not None:
                event.receipt.settle(
                    self.name, Expired(f"it expired before {self.name} could send it ({self.trouble})")
                )
        self._overflow = self._overflow or Overflow(self.name)
        self._overflow.note_expired(self._account.expired, self.trouble)
        return gone

    def _count_dead(self, reason: str, count: int) -> None:
        self._account.dead_lettered += count
        if count:
            self._dead = self._dead or DeadReasons()
            self._dead.add(reason, count)

    def forget_stored(self, event: Event) -> None:
        """Remove an event from the outbox, if it is there, so that the next start does not send it."""
        if self.outbox is not None and event.seq > 0:
            self.outbox.settle(self.name, [event.seq])

    def pop_head(self) -> Event:
        """Remove the oldest event, to be returned with `put_back` in the same step."""
        return self.queue.popleft()

    def deliver_from(self, at: int, outcomes: Sequence[Any]) -> None:
        """Remove the events from a position whose outcome is no error; the others keep their places."""
        self.queue.rotate(-at)
        kept: list[Event] = []
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                kept.append(self.queue.popleft())
            else:
                self.deliver(answer=outcome)
        self.put_back(kept)
        self.queue.rotate(at)

    def put_back(self, events: list[Event]) -> None:
        """Return events to the head, in order."""
        self.queue.extendleft(reversed(events))

    def published(self, seconds: float) -> None:
        """Count a batch that the destination has answered."""
        self._publish = self._publish or Histogram()
        self._publish.add(seconds)

    def retried(self, count: int) -> None:
        """Count events that are retried."""
        self._account.retries += count

    # ---- closing

    def unstored(self) -> list[Event]:
        """Return the events of the queue that are not in the outbox."""
        return [event for event in self.queue if not event.seq]

    def stored(self, events: Sequence[Event], seqs: Sequence[int]) -> None:
        """Set the numbers of events that `unstored` returned and that are stored now."""
        numbers = dict(zip(events, seqs, strict=True))
        for index, event in enumerate(self.queue):
            if event in numbers:
                self.queue[index] = copy = event.copy()  # other lanes may share the event
                copy.seq = numbers[event]

    def close(self) -> None:
        """Settle the receipts of events that stay, report those that are lost, and count the stored ones as spilled."""
        self.state = "closed"
        self._account.spilled = self.behind + sum(1 for event in self.queue if event.seq)
        stopped = LaneClosed(f"{self._ending}; last trouble: {self.error}")
        for event in self.unstored():
            self.report(Failure(stopped, event, self.name, stopped=True))
        for receipt in (*(event.receipt for event in self.queue), *(self._awaited or {}).values()):
            if receipt is not None:
                receipt.settle(self.name, stopped)
        self._awaited = None
        self._wake_puts()

    def abandon(self) -> int:
        """Empty a closed lane; stored events stay in the outbox. Returns the number of events dropped."""
        lost = len(self.unstored())
        elsewhere = sum(1 for event in self.queue if event.seq < 0)  # their store gives them to another lane
        self._account.accepted -= elsewhere
        self.behind += len(self.queue) - lost - elsewhere
        self.queue.clear()
        self.bytes = self.last_seq = 0
        self._measure()
        if lost:
            self._account.dropped += lost
            self._overflow = self._overflow or Overflow(self.name)
            self._overflow.counts["removed"] += lost
        return lost

    def status(self) -> dict[str, Any]:
        """Return the current state and counts as plain data; cheap."""
        account, head = self.account(), next(iter(self.queue), None)
        return {
            "state": self.state,
            "waiting": len(self.queue) + self.behind,
            "queued": len(self.queue),
            "bytes": self.bytes,
            "behind": self.behind,
            "in_flight": self.in_flight,
            "accepted": account.accepted,
            "delivered": account.delivered,
            "delivered_bytes": self.delivered_bytes,
            "retried": account.retries,
            "limited": self.limited,
            "dropped": account.drops,
            "expired": account.expired,
            "dead": account.dead_lettered,
            "dead_reasons": {} if self._dead is None else self._dead.as_dict(),
            "oldest_age": max(0.0, time() - head.timestamp) if head is not None else 0.0,
            "trouble": account.error,
            "publish": NOTHING if self._publish is None else self._publish.as_dict(),
        }

    def account(self) -> LaneAccount:
        """Return a copy of the current account."""
        self._account.remaining = len(self.queue) + self.behind - self._account.spilled
        self._account.error = str(self.error) if self.error is not None else ""
        self._account.drops = dict(self._overflow.counts) if self._overflow is not None else {}
        return replace(self._account)

    # ---- helpers

    def _drop_old(self) -> bool:
        """Drop the oldest event that is not in flight; gives whether there was one."""
        if self.in_flight < len(self.queue):
            event = self.queue[self.in_flight]
            del self.queue[self.in_flight]
            self._free(len(event.body))
            self.forget_stored(event)  # it may have been stored before a reload changed the options
            self._drop(event, "drop_old")
            return True
        return False

    def _drop(self, event: Event, policy: str) -> None:
        self._account.dropped += 1
        self._overflow = self._overflow or Overflow(self.name)
        self._overflow.note(policy, self.trouble)
        if event.receipt is not None:
            event.receipt.settle(self.name, Dropped(f"{self.name} was full ({policy}; {self.trouble})"))

    def _free(self, size: int) -> None:
        self.bytes -= size
        if self.full:
            self._measure()
            if self.options.when_full == "spill":
                self._recheck_outbox()
        if self.room is not None:
            self.room.set()

    def _recheck_outbox(self) -> None:
        """Wake puts that wait for room in the outbox, if the lane no longer needs it."""
        if self.outbox is not None and not self.must_store():
            self.outbox.recheck_room()

    def _measure(self) -> None:
        self.full = len(self.queue) >= self._max_events or self.bytes >= self._max_bytes
        self.puts_wait = self.full and self.blocks


def _no_worker() -> None:
    """Do nothing: the lane has no worker yet."""


def _nobody() -> None:
    """Do nothing: no router has the lane yet."""

"""Attempts: how often the events at the head of a lane were tried, and how many are sent at once."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic, time

from evbus_like.engine.errors import BatchRejected, PoisonEvent, Stalled
from evbus_like.engine.event import Event
from evbus_like.engine.failure import classify
from evbus_like.engine.sending.destination import LaneOptions
from evbus_like.engine.sending.suspects import Suspects

UNKNOWN_KIND_ATTEMPTS = 3  # an exception of unknown kind must not block a lane for ever


class Attempts:
    """Counts the attempts of the events at the head of a lane, and finds a poison event by halving its batch.

    Events that failed are retried without newer ones, which have attempts of their own. While events are stalled,
    newer ones are sent with them.
    """

    def __init__(self, options: LaneOptions) -> None:
        self.failed = 0  # attempts of the events at the head
        self.head = 0  # the number of those events
        self.stalled = 0  # events at the head that wait for a part of the destination
        self.first_failed: float | None = None  # in seconds since 1970
        self.suspects = Suspects()
        self._options = options
        self._give_up_at = float("inf")  # by the monotonic clock
        self._halved = 0  # events at the head that are sent in smaller batches, to find the poison one
        self._step = 1  # the size of those batches

    @property
    def current(self) -> int:
        """The number of the current attempt, from 1; failures before these events came do not count."""
        return self.failed + 1 if self.head else 1

    @property
    def batch_size(self) -> int:
        """How many events to send at once."""
        if self.suspects.count:
            return 1
        if self._halved:
            return min(self._step, self._halved)
        return self._options.batch_events if self.stalled else self.head or self._options.batch_events

    @property
    def failing_for(self) -> float:
        """The seconds since the events at the head first failed, or were stalled."""
        return 0.0 if self.first_failed is None else time() - self.first_failed

    def poisoned(self, count: int) -> None:
        """Suspect every event of a batch, and continue with its first half."""
        self.stalled = 0
        self._halved = max(self._halved, count)
        self._step = count // 2

    def settled(self, count: int) -> None:
        """Record that so many events are settled; the rest of a poisoned batch is sent in larger batches again."""
        self.suspects.settled(count)
        if self._halved:
            self._halved = max(0, self._halved - count)
            self._step = max(1, min(2 * self._step, self._halved))

    def record_failure(self, count: int) -> None:
        """Record a failed attempt for so many events at the head, or for none: a connection that failed."""
        self.failed = self.current if count else self.failed + 1
        self._hold(count)

    def record_end(self, count: int) -> None:
        """Record that the connection ended with so many events in flight; if there were several, it is no attempt."""
        if count == 1:
            self.failed = self.current
        self._hold(count)

    def _hold(self, count: int) -> None:
        """Retry so many events without newer ones."""
        self.head, self.stalled = count, 0
        if count and self.first_failed is None:
            self.first_failed = time()
            if self._options.retry_deadline is not None:
                self._give_up_at = monotonic() + self._options.retry_deadline

    def record_stall(self, old: int, count: int) -> None:
        """Record that so many events wait for a part of the destination, which is no attempt; `old` of them did so."""
        self._hold(old or count)
        self.stalled = count

    def removed(self, gone: Sequence[tuple[int, Event]]) -> None:
        """Forget events that were removed from these positions of the lane, because they had expired."""
        positions = [at for at, _ in gone]
        self.suspects.removed(gone)
        self._halved -= sum(at < self._halved for at in positions)
        if self.head:
            self.head -= sum(at < self.head for at in positions)
            if not self.head:
                self.reset()

    def reset(self) -> None:
        """Forget the attempts of events that are settled."""
        self.failed = self.head = self.stalled = 0
        self.first_failed, self._give_up_at = None, float("inf")

    def exhausted(self, error: BaseException, index: int = 0) -> bool:
        """Whether this error ends the attempts of the event at a position of the batch."""
        kind = classify(error)
        if isinstance(kind, PoisonEvent):
            return True
        newer = 0 < self.head <= index  # it was sent beside stalled events, for the first time
        if monotonic() >= self._give_up_at and not newer:
            return True
        if isinstance(kind, (BatchRejected, Stalled)):  # `suspects` decides; no attempt
            return False
        limit = self._options.attempts
        if kind is None:
            limit = min(limit or UNKNOWN_KIND_ATTEMPTS, UNKNOWN_KIND_ATTEMPTS)
        return limit is not None and (1 if newer else self.current) >= limit

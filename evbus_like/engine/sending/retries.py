"""Tries: how often the events at the head of a lane were tried, and how many of them go at once."""

from __future__ import annotations

from time import monotonic, time

from evbus_like.engine.errors import PoisonEvent
from evbus_like.engine.failure import classify
from evbus_like.engine.sending.destination import LaneOptions

UNKNOWN_KIND_ATTEMPTS = 3  # an exception whose kind nobody knows must not block a lane for ever


class Tries:
    """Counts the tries of the events at the head, and finds the one that spoils a batch by halving it.

    Events that were tried are not joined by others, for each has tries of its own.
    """

    def __init__(self, options: LaneOptions) -> None:
        self.failed = 0  # of the events at the head
        self.head = 0  # how many those are
        self.first_failed: float | None = None  # when they failed first, by the wall clock
        self._options = options
        self._give_up_at = float("inf")  # when they have had their time, by the monotonic clock
        self._suspects = 0  # how many events at the head go in smaller batches, to find the one that spoils them
        self._slice = 1  # how many of the suspects at once

    @property
    def this(self) -> int:
        """Which try the one under way is: 1 for the first, however often it failed before these events came."""
        return self.failed + 1 if self.head else 1

    @property
    def most(self) -> int:
        """How many events to send at once."""
        if self._suspects:
            return min(self._slice, self._suspects)
        return self.head or self._options.batch_events

    def spoilt(self, count: int) -> None:
        """Suspect every event of a batch, and go on with its halves."""
        self._suspects = max(self._suspects, count)
        self._slice = count // 2

    def settled(self, count: int) -> None:
        """Note that so many events are settled; what is left of a spoilt batch goes in larger steps again."""
        if self._suspects:
            self._suspects = max(0, self._suspects - count)
            self._slice = max(1, min(2 * self._slice, self._suspects))

    def again(self, count: int) -> None:
        """Note a try that failed for so many events at the head; those without any count until there is one with."""
        self.failed = self.this if count else self.failed + 1
        self.head = count
        if count and self.first_failed is None:
            self.first_failed = time()
            if self._options.retry_deadline is not None:
                self._give_up_at = monotonic() + self._options.retry_deadline

    def forget(self) -> None:
        """Begin the next events' tries anew."""
        self.failed = self.head = 0
        self.first_failed, self._give_up_at = None, float("inf")

    def spent(self, error: BaseException) -> bool:
        """Whether the events at the head have had all their tries with this one."""
        kind = classify(error)
        if isinstance(kind, PoisonEvent):
            return True
        if monotonic() >= self._give_up_at:
            return True
        limit = self._options.attempts
        if kind is None:
            limit = min(limit or UNKNOWN_KIND_ATTEMPTS, UNKNOWN_KIND_ATTEMPTS)
        return limit is not None and self.this >= limit

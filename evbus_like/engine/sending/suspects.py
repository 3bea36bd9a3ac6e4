"""Suspects: finds the event that makes a destination end its connection, and proves that it is that event.

A destination that ends the connection, or refuses a batch, does not say which event is the cause. Any of those in
flight may be, so they are sent one by one until the cause is found or all are settled; each of the others is repeated
at most once.

A restart, a failover or a cut cable looks the same for one event, or for a few times. So an event is given up only if
it alone ended the connection several times. Unless the destination said in words that it was about what was sent, a
later event must also have been delivered in between. To find out, a later event is sent out of turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from evbus_like.engine.errors import BatchRejected, ConnectionLost, PoisonEvent
from evbus_like.engine.event import Event

Ended = BatchRejected | ConnectionLost

FEW = 50  # events in flight: so many are sent one by one as soon as a connection is lost
REPEATED = 2  # lost connections with the same events in flight, after which more than a few are sent one by one
ENOUGH = 2  # times that one event alone is refused in words
UNCERTAIN = 6  # the same, if the words may be about the destination's own state and no other event was delivered
LOST = 5  # lost connections by one event alone, after which a later event is tried
TRIES = 3  # how often one later event may end the connection, before the one behind it is tried
OTHERS = 1000  # later events that are tried, at most


class Alone:
    """One event that ended the connection while nothing else was in flight."""

    __slots__ = ("delivered", "ends")

    def __init__(self, delivered: int) -> None:
        self.delivered = delivered  # events that were delivered before it first did
        self.ends = 0


class Suspects:
    """The events at the head of one lane that may have ended the connection; `count` of them are sent one by one."""

    def __init__(self) -> None:
        self.count = 0
        self._in_flight: frozenset[str] = frozenset()  # the ids of events when the connection ended last
        self._repeated = 0  # ends in a row with the same events in flight, but for those that were confirmed
        self._alone: dict[str, Alone] = {}  # by id
        self._delivered = 0
        self._given_up = 0  # events given up since the last one that was delivered
        self._error: Ended | None = None
        self._try_other = False

    # ---- what happened

    def ended(self, events: Sequence[Event], error: Ended) -> PoisonEvent | None:
        """Record that these events were in flight when the connection ended, or were refused together.

        Returns the error to give up the only one with, if it is proven to be the cause.
        """
        first = events[0].id
        self._repeated = self._repeated + 1 if first in self._in_flight else 1
        self._in_flight, self._error = frozenset(event.id for event in events), error
        if len(events) > 1:
            if isinstance(error, BatchRejected) or len(events) <= FEW or self._repeated >= REPEATED:
                self.count = max(self.count, len(events))
            return None
        self.count = max(self.count, 1)
        alone = self._count(events[0])
        self._try_other = True
        return self._proof(alone, error)

    def other_ended(self, event: Event) -> None:
        """Record that a later event, sent out of turn, ended the connection too."""
        self._count(event)

    def settled(self, count: int) -> None:
        """Record that so many events at the head are settled, and were sent in one batch."""
        self.count = max(0, self.count - count)
        self._try_other = False
        if self._alone or self._given_up:
            self._delivered += count
            self._given_up = 0
            if not self.count:
                self._alone.clear()

    def other_delivered(self) -> None:
        """Record that a later event, sent out of turn, was delivered: the destination works."""
        self._delivered += 1
        self._given_up, self._try_other = 0, False

    def given_up(self, event: Event) -> None:
        """Record that an event was given up; what was in flight behind it is not suspect any more."""
        self._alone.pop(event.id, None)
        self._given_up += 1
        self.count = 0
        self._try_other = False

    def removed(self, gone: Sequence[tuple[int, Event]]) -> None:
        """Forget events that were removed from these positions of the lane."""
        self.count -= sum(at < self.count for at, _ in gone)
        for _, event in gone:
            self._alone.pop(event.id, None)

    # ---- what to do next

    def wants_other(self, first: Event) -> bool:
        """Whether a later event should be sent out of turn before the first one is tried again.

        The two take turns until the later one is delivered, or the first one is.
        """
        alone = self._alone.get(first.id)
        if not self._try_other or alone is None or alone.delivered < self._delivered:
            return False
        if isinstance(self._error, BatchRejected):
            return not self._error.certain and alone.ends >= ENOUGH
        return alone.ends >= LOST

    def next_other(self, waiting: Sequence[Event]) -> int:
        """Return the position of the later event to send, of those that wait; 0 if there is none."""
        self._try_other = False
        for at, event in enumerate(islice(waiting, 1, OTHERS), 1):
            alone = self._alone.get(event.id)
            if alone is None or alone.ends < TRIES:
                return at
        for event in islice(waiting, 1, OTHERS):  # all have failed: from the first one again
            self._alone.pop(event.id, None)
        return 0

    # ---- proof

    def _count(self, event: Event) -> Alone:
        alone = self._alone.get(event.id)
        if alone is None:
            alone = self._alone[event.id] = Alone(self._delivered)
        alone.ends += 1
        return alone

    def _proof(self, alone: Alone, error: Ended) -> PoisonEvent | None:
        others = alone.delivered < self._delivered
        if isinstance(error, BatchRejected):
            enough = ENOUGH if error.certain or others else UNCERTAIN
            if alone.ends >= enough and (error.certain or others or not self._given_up):
                return PoisonEvent(f"{error} (it was refused {alone.ends} times when it was sent alone)")
        elif alone.ends >= LOST and others:
            return PoisonEvent(
                f"the destination ended the connection each of the {alone.ends} times that this event was sent alone,"
                f" and took another event in between; it gave no reason. Last: {error}"
            )
        return None

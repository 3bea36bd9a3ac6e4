"""Batches that wait for an answer longer than one call of publish, so that only their own partitions wait with them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence, Set
from typing import Any

from evbus_like.engine.event import Event
from evbus_like.kafka.batches import Batch
from evbus_like.kafka.leaders import Place


class Waiting:
    """A batch that aiokafka has, its events, and the time on the loop's clock at which it is given up.

    `unsent` are those of its events whose record for another topic was not sent: that this one is confirmed does not
    make them delivered. `unsent_at` are their positions.
    """

    __slots__ = ("batch", "events", "future", "unsent", "unsent_at", "until")

    def __init__(
        self,
        batch: Batch,
        future: asyncio.Future[Any],
        events: Sequence[Event],
        until: float,
        unsent: Sequence[Event] = (),
    ) -> None:
        self.batch, self.future, self.until = batch, future, until
        self.events = events
        self.unsent = unsent
        self.unsent_at: Sequence[int] = ()

    def find(self, positions: dict[int, int]) -> bool:
        """Set the positions of the events in another call of publish, by their identity; False if one is gone."""
        self.unsent_at = [positions[id(event)] for event in self.unsent if id(event) in positions]
        self.batch.positions = [positions[id(event)] for event in self.events if id(event) in positions]
        return len(self.batch.positions) == len(self.events)


class InFlight:
    """The batches whose answers are awaited, by partition, in the order in which they were sent."""

    def __init__(self) -> None:
        self._waiting: list[Waiting] = []

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, waiting: Waiting) -> None:
        """Wait for one more batch."""
        self._waiting.append(waiting)

    def places(self) -> Set[Place]:
        """Give the partitions that wait."""
        return {(each.batch.topic, each.batch.partition) for each in self._waiting}

    def sent_before(self, until: float) -> Set[asyncio.Future[Any]]:
        """Return the answers of batches that will be given up before a time: those that were sent first."""
        return {each.future for each in self._waiting if each.until < until}

    def resume(self, events: Sequence[Event]) -> Iterator[tuple[Waiting, bool]]:
        """Take all batches out, with positions among `events`; gives whether all of their events are there."""
        positions = {id(event): position for position, event in enumerate(events)}
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            yield each, each.find(positions)

    def failed_elsewhere(self, events: Sequence[Event]) -> None:
        """Note events whose record for another topic was refused: they are not delivered by what still waits."""
        failed = {id(event) for event in events}
        for each in self._waiting if failed else ():
            each.unsent = [*each.unsent, *(event for event in each.events if id(event) in failed)]

    def abandon(self) -> None:
        """Forget the batches without an answer, because their producer is closed; they are sent again."""
        for each in self._waiting:
            each.future.cancel()
        self._waiting = [each for each in self._waiting if not each.future.cancelled()]

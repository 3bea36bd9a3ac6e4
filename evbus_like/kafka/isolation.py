"""Isolation: finds the records for which a broker refuses a batch, and sends the others of their partition again.

Recent brokers name the records (KIP-467). Where they do not, the batch is halved until a record is alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from evbus_like.engine.event import Event
from evbus_like.kafka import codes
from evbus_like.kafka.batches import Batch
from evbus_like.kafka.internals import BrokerError
from evbus_like.kafka.leaders import Place
from evbus_like.kafka.plan import Planner


class Remaining:
    """The events of one partition that are sent again; `most` at once while their number is being halved."""

    def __init__(self) -> None:
        self.positions: list[int] = []  # of this round
        self.later: list[int] = []
        self.most: int | None = None


class Isolation:
    """What is still to be sent of one call of publish, because batches were refused for some of their records."""

    def __init__(self, planner: Planner, events: Sequence[Event], outcomes: list[Any]) -> None:
        self._planner = planner
        self._outcomes = outcomes
        self._events = events
        self._places: dict[Place, Remaining] = {}

    def __bool__(self) -> bool:
        return any(remaining.positions or remaining.later for remaining in self._places.values())

    def refused(self, batch: Batch, error: BrokerError) -> Iterable[tuple[int, str]]:
        """Note a batch that was refused for its records; gives the positions of those that are found, and the words."""
        remaining = self._places.setdefault((batch.topic, batch.partition), Remaining())
        self._planner.rules.forget(batch.topic)
        found = {batch.positions[index]: text for index, text in error.records.items() if index < len(batch.positions)}
        if not found and len(batch.positions) == 1:
            found = {batch.positions[0]: ""}
        elif not found:
            remaining.most = len(batch.positions) // 2
            if error.errno in codes.TOO_LARGE:
                self._planner.limit(batch.topic, remaining.most)
        remaining.positions += [position for position in batch.positions if position not in found]
        return found.items()

    def behind(self, batch: Batch) -> bool:
        """Note a batch that failed; gives whether it is sent again because one before it was refused."""
        remaining = self._places.get((batch.topic, batch.partition))
        if remaining is not None:
            remaining.positions += batch.positions
        return remaining is not None

    def confirmed(self, batch: Batch) -> None:
        """Note a batch that was delivered: the next may be larger."""
        remaining = self._places.get((batch.topic, batch.partition))
        if remaining is not None and remaining.most is not None:
            remaining.most *= 2

    def batches(self, producer: Any) -> Iterator[Batch]:
        """Make the batches of the next round, of every partition in order."""
        for place, remaining in self._places.items():
            waiting = [*remaining.positions, *remaining.later]
            count = remaining.most or len(waiting)
            now, remaining.later, remaining.positions = waiting[:count], waiting[count:], []
            if now:
                yield from self._planner.again(producer, place, self._events, now, self._outcomes)

    def accepted_at(self, position: int) -> float:
        """Give the time of an event, in seconds since 1970."""
        return self._events[position].timestamp

    def topics(self) -> set[str]:
        """Give the topics that have refused something."""
        return {topic for topic, _ in self._places}

    def left(self) -> Iterator[int]:
        """Give the positions that are still to be sent."""
        for remaining in self._places.values():
            yield from remaining.positions
            yield from remaining.later

"""How a feed gets its partitions: in a consumer group (`group.py`), or all of them, for itself alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from evbus_like.engine.receiving.subscription import Subscription
from evbus_like.kafka import since
from evbus_like.kafka.offsets import Offsets, Partition
from evbus_like.kafka.settings import QueueState, Settings


class AssignedFeed(Protocol):
    """A feed, as its assignment sees it; a partition's place is aiokafka's TopicPartition."""

    kafka: Any
    client: Any
    subscription: Subscription
    settings: Settings
    state: QueueState
    offsets: Offsets
    topics: tuple[str, ...]
    closing: bool

    def places(self) -> list[Any]:
        """Give the partitions of the topics that exist."""

    def check(self) -> None:
        """Raise the error that the feed was lost by, if it was."""

    def fail(self, error: Exception) -> None:
        """Mark the feed as lost."""

    def revoke(self, places: Sequence[Any]) -> list[Partition]:
        """Let no handler begin with events of these partitions."""

    def forget(self, places: Sequence[Any]) -> None:
        """Drop partitions and everything of them that is not settled."""

    def clear_pauses(self) -> None:
        """Note that aiokafka has forgotten which partitions are paused."""


class Assignment(Protocol):
    """How a feed gets its partitions."""

    async def begin(self) -> None:
        """Get partitions; returns when it is certain that no later record is skipped."""

    def reachable(self) -> bool:
        """Whether the group, if there is one, answers."""

    def check(self) -> None:
        """Raise what has gone wrong with the assignment."""

    async def refresh(self) -> None:
        """Take new partitions in."""

    async def end(self) -> None:
        """Commit or remember the positions."""


class StandaloneAssignment:
    """All partitions, without a group: Kafka keeps no offsets, the positions are kept until the worker ends."""

    def __init__(self, feed: AssignedFeed) -> None:
        self._feed = feed

    async def begin(self) -> None:
        """Take all partitions, from where `since` says, which is their end by default."""
        feed, state = self._feed, self._feed.state
        known = {place: state.positions[place] for place in feed.places() if place in state.positions}
        rest = [place for place in feed.places() if place not in known]
        late = [place for place in rest if state.opened or place.topic in state.late_topics]
        begins = await since.offsets(feed.kafka, late, since.EARLIEST)
        begins |= await since.offsets(feed.kafka, set(rest).difference(late), feed.subscription.since)
        await self._assign(known | begins)

    def reachable(self) -> bool:
        """There is no group that could be unreachable."""
        return True

    def check(self) -> None:
        """There is no group that could fail."""

    async def refresh(self) -> None:
        """Take new partitions from their beginning."""
        new = [place for place in self._feed.places() if place not in self._feed.kafka.assignment()]
        if new:
            await self._assign(await since.offsets(self._feed.kafka, new, since.EARLIEST))

    async def _assign(self, begins: dict[Any, int]) -> None:
        """Add partitions and keep the positions of the others, which aiokafka forgets with each `assign`."""
        kafka = self._feed.kafka
        positions = {place: await kafka.position(place) for place in kafka.assignment()} | begins
        if not begins:
            return
        kafka.assign(list(positions))
        for place, offset in positions.items():
            kafka.seek(place, offset)
        self._feed.clear_pauses()
        await self._feed.client.set_topics(self._feed.topics)  # missing topics as well

    async def end(self) -> None:
        """Remember the positions, in case the feed was only lost."""
        kafka, positions = self._feed.kafka, self._feed.state.positions
        for place in kafka.assignment():
            positions[place] = await kafka.position(place)
        positions |= {place: offset for place, part in self._feed.offsets if (offset := part.position) is not None}

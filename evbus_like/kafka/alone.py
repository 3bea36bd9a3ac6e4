"""A reader without a group: it has all partitions, and keeps its places only as long as the worker runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evbus_like.kafka import starting

if TYPE_CHECKING:
    from evbus_like.kafka.consumer import Feed


class Alone:
    """The seat of a feed whose events nobody else gets, and which nobody keeps."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    async def begin(self) -> None:
        """Take all partitions, from where `since` says: by default from their ends."""
        feed, memory = self._feed, self._feed.memory
        known = {place: memory.positions[place] for place in feed.places() if place in memory.positions}
        rest = [place for place in feed.places() if place not in known]
        late = [place for place in rest if memory.begun or place.topic in memory.awaited]
        begins = await starting.offsets(feed.kafka, late, starting.EARLIEST)
        begins |= await starting.offsets(feed.kafka, set(rest).difference(late), feed.subscription.since)
        await self._take(known | begins)

    def reachable(self) -> bool:
        """Whether there is more to know than that the cluster answers: no."""
        return True

    def check(self) -> None:
        """Nothing can go wrong with a group that is not there."""

    async def look(self) -> None:
        """Take partitions that are new, from their beginning."""
        new = [place for place in self._feed.places() if place not in self._feed.kafka.assignment()]
        if new:
            await self._take(await starting.offsets(self._feed.kafka, new, starting.EARLIEST))

    async def _take(self, begins: dict[Any, int]) -> None:
        """Read further partitions, and the others from where they are; aiokafka forgets that with each `assign`."""
        kafka = self._feed.kafka
        positions = {place: await kafka.position(place) for place in kafka.assignment()} | begins
        if not begins:
            return
        kafka.assign(list(positions))
        for place, offset in positions.items():
            kafka.seek(place, offset)
        self._feed.unpaused()
        await self._feed.client.set_topics(self._feed.topics)  # those that are missing, too

    async def end(self) -> None:
        """Keep in mind where to go on, should the feed only be lost."""
        kafka, positions = self._feed.kafka, self._feed.memory.positions
        for place in kafka.assignment():
            positions[place] = await kafka.position(place)
        positions |= {place: offset for place, part in self._feed.offsets if (offset := part.position) is not None}

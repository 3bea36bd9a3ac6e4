"""A member of a consumer group: it shares partitions with others, and commits what is settled."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

import aiokafka
from aiokafka import errors as kafka
from aiokafka.structs import OffsetAndMetadata

from evbus_like.engine.errors import TransientError
from evbus_like.kafka import failures, starting
from evbus_like.kafka.settings import COMMIT_WAIT

if TYPE_CHECKING:
    from evbus_like.kafka.consumer import Feed

log = logging.getLogger("evbus_like.handlers")

COMMIT_EVERY = 0.2  # seconds between two commits


class Member(aiokafka.ConsumerRebalanceListener):
    """The seat of a feed in its group.

    A group that has committed nothing begins where `since` says, at the end by default, as a new queue would. That is
    committed at once, for all partitions and before the feed counts as open: from then on nothing is passed over,
    whoever reads it.
    """

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._ready = asyncio.Event()
        self._waiting_since = monotonic()
        self._committing = asyncio.Lock()
        self._committer: asyncio.Task[None] | None = None

    @property
    def _coordinator(self) -> Any:
        # The consumer's own commit() refuses partitions of other members, and those that are just being revoked.
        return self._feed.kafka._coordinator

    async def begin(self) -> None:
        """Join the group, and return when it has a place in every partition."""
        if not self._feed.subscription.reliable and not self._feed.memory.begun:
            await self._forget_the_past()
        self._feed.kafka.subscribe(list(self._feed.topics), listener=self)
        while not self._ready.is_set():
            self._feed.check()
            with suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    await self._ready.wait()
        self._committer = asyncio.create_task(self._commit_often(), name="evbus_like commits")

    async def _forget_the_past(self) -> None:
        """Begin anew where nobody else reads: what came meanwhile is not kept.

        Kafka takes commits without membership only for a group that has no member: just so it is asked.
        """
        places = self._feed.places()
        begins = await starting.offsets(self._feed.kafka, places, self._feed.subscription.since)
        with suppress(kafka.CommitFailedError):
            await self._send(begins)

    def reachable(self) -> bool:
        """Whether the group's coordinator is known; aiokafka forgets it when it does not answer."""
        return self._coordinator.coordinator_id is not None

    def check(self) -> None:
        """Raise what has gone wrong in the group: errors of aiokafka, TransientError where it gives no partitions."""
        self._coordinator.check_errors()
        patience = self._feed.settings.rebalance + self._feed.settings.timeout
        if not self._ready.is_set() and monotonic() - self._waiting_since > patience:
            group = self._feed.subscription.queue
            raise TransientError(f"Kafka at {self._feed.settings.place} gives the group {group!r} no partitions")

    async def look(self) -> None:
        """Nothing: the group's leader sees new partitions, and gives them out."""

    async def on_partitions_assigned(self, assigned: Any) -> None:
        """Called by aiokafka, with the group's new generation: see that every partition has a place to begin at."""
        try:
            async with asyncio.timeout(self._feed.settings.timeout):
                await self._seed()
        except kafka.CommitFailedError:
            return  # the next rebalance has begun already
        except Exception as error:
            self._feed.fail(error)
            return
        self._ready.set()

    async def _seed(self) -> None:
        """Commit where to begin, for all partitions of the topics that have no offset.

        The ends are looked up before the second look at what is committed. So whoever finds nothing committed has seen
        the end before anybody's feed counted as open, and passes over nothing that was published later.
        """
        feed, places = self._feed, self._feed.places()
        known = await self._coordinator.fetch_committed_offsets(places)
        missing = [place for place in places if place not in known]
        if not missing:
            return
        # A partition that was added, or a topic that was made, when the group was there already: all of it is new.
        begun = feed.memory.awaited | {place.topic for place in known}
        late = [place for place in missing if place.topic in begun]
        new = [place for place in missing if place.topic not in begun]
        begins = await starting.offsets(feed.kafka, late, starting.EARLIEST)
        begins |= await starting.offsets(feed.kafka, new, feed.subscription.since)
        known = await self._coordinator.fetch_committed_offsets(missing)
        await self._send({place: begins[place] for place in missing if place not in known})

    async def on_partitions_revoked(self, revoked: Any) -> None:
        """Called by aiokafka before a rebalance: let handlers under way end, commit, and forget the rest."""
        self._ready.clear()
        self._waiting_since = monotonic()
        feed = self._feed
        partitions = feed.take_back(list(revoked))
        deadline = monotonic() + feed.settings.drain
        try:
            while any(event.busy for partition in partitions for event in partition.open.values()):
                if monotonic() > deadline or feed.closing or self._coordinator.generation <= 0:
                    break  # without a generation, the partitions are somebody else's already
                await asyncio.sleep(0.02)
            await self._commit()
        except kafka.KafkaError as error:
            feed.fail(error)
        finally:
            feed.forget([place for place, _ in feed.offsets])

    async def _commit_often(self) -> None:
        while True:
            await asyncio.sleep(COMMIT_EVERY)
            try:
                await self._commit()
            except Exception as error:
                self._feed.fail(error)
                return

    async def _commit(self) -> None:
        """Commit what is due, once; what Kafka does not take is due again.

        No two at a time: none is under way when partitions have been given away, for aiokafka would try it again with
        the next generation, and so commit into somebody else's partition.
        """
        async with self._committing:
            due = self._feed.offsets.due()
            if not due:
                return
            try:
                async with asyncio.timeout(COMMIT_WAIT):
                    await self._send(due)
            except (TimeoutError, kafka.CommitFailedError):
                return
            self._feed.offsets.note(due)

    async def _send(self, offsets: dict[Any, int]) -> None:
        if offsets:
            wanted = {place: OffsetAndMetadata(offset, "") for place, offset in offsets.items()}
            await self._coordinator.commit_offsets(None, wanted)

    async def end(self) -> None:
        """Commit a last time, where somebody is there to take it."""
        if self._committer is None:
            return
        self._committer.cancel()
        await asyncio.wait([self._committer], timeout=COMMIT_WAIT)
        if self.reachable():
            try:
                await self._commit()
            except Exception as error:
                trouble = failures.receiving(error, self._feed.settings.place)
                log.warning("the last commit failed, its events come again: %s", trouble)

"""Membership in a consumer group: shares partitions with other members, and commits settled offsets."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from time import monotonic
from typing import Any

import aiokafka
from aiokafka import errors as kafka
from aiokafka.structs import OffsetAndMetadata

from evbus_like.engine.errors import TransientError
from evbus_like.kafka import failures, internals, since
from evbus_like.kafka.assignment import AssignedFeed
from evbus_like.kafka.settings import COMMIT_WAIT

log = logging.getLogger("evbus_like.handlers")

DISPLACED = (
    "%s is no longer a member of the Kafka group %r, and joins it again: either another process has the same"
    " group_instance_id, which must be different for each, or this one was silent for session_timeout, %g seconds"
)
COMMIT_EVERY = 0.2  # seconds between two commits


class GroupMembership(aiokafka.ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types
    """The membership of one feed in its group.

    A group that has committed nothing begins where `since` says, which is the end by default, as a new queue would.
    That is committed at once, for all partitions and before the feed counts as open: from then on no record is skipped,
    whoever reads the partition.
    """

    def __init__(self, feed: AssignedFeed) -> None:
        self._feed = feed
        self._ready = asyncio.Event()
        self._waiting_since = monotonic()
        self._committing = asyncio.Lock()
        self._committer: asyncio.Task[None] | None = None

    @property
    def _coordinator(self) -> Any:
        return internals.coordinator_of(self._feed.kafka)

    async def begin(self) -> None:
        """Join the group; returns when every partition has an offset."""
        if not self._feed.subscription.reliable and not self._feed.state.opened:
            await self._skip_past_events()
        self._feed.kafka.subscribe(list(self._feed.topics), listener=self)
        while not self._ready.is_set():
            self._feed.check()
            with suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    await self._ready.wait()
        self._committer = asyncio.create_task(self._commit_often(), name="evbus_like commits")

    async def _skip_past_events(self) -> None:
        """Start over where no other member reads: an unreliable subscription keeps nothing while nobody reads.

        Kafka takes commits without a membership only for a group without members, which is the condition.
        """
        places = self._feed.places()
        begins = await since.offsets(self._feed.kafka, places, self._feed.subscription.since)
        with suppress(kafka.CommitFailedError):
            await self._send(begins)

    def reachable(self) -> bool:
        """Whether the group's coordinator is known; aiokafka forgets it when it does not answer."""
        return self._coordinator.coordinator_id is not None

    def check(self) -> None:
        """Raise aiokafka's errors of the group, and TransientError if the group assigns no partitions in time."""
        self._coordinator.check_errors()
        patience = self._feed.settings.rebalance + self._feed.settings.timeout
        if not self._ready.is_set() and monotonic() - self._waiting_since > patience:
            group = self._feed.subscription.queue
            raise TransientError(
                f"Kafka at {self._feed.settings.address} assigns no partitions to this member of the group {group!r}"
            )

    async def refresh(self) -> None:
        """The group's leader assigns new partitions by itself."""

    async def on_partitions_assigned(self, assigned: Any) -> None:
        """Called by aiokafka with each generation of the group: makes sure that every partition has an offset."""
        try:
            async with asyncio.timeout(self._feed.settings.timeout):
                begins = await self._commit_missing_offsets()
        except kafka.CommitFailedError:
            return  # the next rebalance has begun
        except Exception as error:
            self._feed.fail(error)
            return
        for place in begins.keys() & self._feed.kafka.assignment():
            self._feed.kafka.seek(place, begins[place])  # aiokafka would look for the committed offset again, and wait
        self._ready.set()

    async def _commit_missing_offsets(self) -> dict[Any, int]:
        """Commit where to begin, for all partitions of the topics that have no offset; gives where those begin.

        The ends are looked up before the second look at the committed offsets. So a member that finds nothing committed
        has seen the end before any feed counted as open, and skips nothing that was published later.
        """
        feed, places = self._feed, self._feed.places()
        known = await self._coordinator.fetch_committed_offsets(places)
        missing = [place for place in places if place not in known]
        if not missing:
            return {}
        # A partition or topic that was added after the group began is read from its beginning.
        begun = feed.state.late_topics | {place.topic for place in known}
        late = [place for place in missing if place.topic in begun]
        new = [place for place in missing if place.topic not in begun]
        begins = await since.offsets(feed.kafka, late, since.EARLIEST)
        begins |= await since.offsets(feed.kafka, new, feed.subscription.since)
        known = await self._coordinator.fetch_committed_offsets(missing)
        begins = {place: begins[place] for place in missing if place not in known}
        await self._send(begins)
        return begins | {place: found.offset for place, found in known.items()}

    async def on_partitions_revoked(self, revoked: Any) -> None:
        """Called by aiokafka before a rebalance: waits for running handlers, commits, and forgets the rest."""
        self._ready.clear()
        self._waiting_since = monotonic()
        feed = self._feed
        if revoked and feed.settings.instance and self._coordinator.generation <= 0:
            log.warning(DISPLACED, feed.settings.instance, feed.subscription.queue, feed.settings.session)
        partitions = feed.revoke(list(revoked))
        deadline = monotonic() + feed.settings.drain
        try:
            while any(event.busy for partition in partitions for event in partition.open.values()):
                if monotonic() > deadline or feed.closing or self._coordinator.generation <= 0:
                    break  # without a generation, other members have the partitions already
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
        """Commit the offsets that are due; a commit that Kafka refuses is due again.

        One at a time: none may be under way when partitions are given to another member, because aiokafka would repeat
        it with the next generation.
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
            self._feed.offsets.committed(due)

    async def _send(self, offsets: dict[Any, int]) -> None:
        if offsets:
            wanted = {place: OffsetAndMetadata(offset, "") for place, offset in offsets.items()}
            await self._coordinator.commit_offsets(None, wanted)

    async def end(self) -> None:
        """Commit a last time if the coordinator is there."""
        if self._committer is None:
            return
        self._committer.cancel()
        await asyncio.wait([self._committer], timeout=COMMIT_WAIT)
        if self.reachable():
            try:
                await self._commit()
            except Exception as error:
                trouble = failures.receiving(error, self._feed.settings.address)
                log.warning("the last commit failed, so its events are handled again: %s", trouble)

"""Leaders: the brokers that take the records of partitions; after a failure a partition may have none for a while.

aiokafka accepts records for a partition without a leader, asks for metadata in a loop without a pause, and gives up
after request_timeout_ms. So it gets no records for such partitions, and its requests for metadata are paced.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from time import monotonic
from typing import Any

from aiokafka import TopicPartition
from aiokafka import errors as kafka

from evbus_like.engine.errors import TransientError
from evbus_like.kafka import internals

Place = tuple[str, int]  # topic and partition

PAUSE = 0.1  # seconds between two requests for metadata; the retry.backoff.ms of Kafka's own clients
PAUSES = (0.0, 0.1, 0.2, 0.4)  # seconds before each look-up: a new topic, or an election, takes less than their sum


class NoLeader(TransientError):
    """The event was not given to aiokafka because its partition has no leader."""


def known(cluster: Any, place: Place) -> bool:
    """Whether a partition has a leader, by the metadata at hand."""
    return cluster.leader_for_partition(TopicPartition(*place)) not in (None, -1)


def reachable(cluster: Any, topic: str, partitions: Sequence[int]) -> Sequence[int]:
    """Give the partitions of a topic that have a leader, or all if none has."""
    return sorted(cluster.available_partitions_for_topic(topic) or ()) or partitions


async def look_up(client: Any, places: Collection[Place], again: bool, within: float) -> None:
    """Ask for the leaders of partitions, for at most `within` seconds; only once if `again`."""
    try:
        async with asyncio.timeout(within):
            for wait in PAUSES[:1] if again else PAUSES:
                await asyncio.sleep(wait)
                await client.force_metadata_update()
                if all(known(client.cluster, place) for place in places):
                    break
    except (TimeoutError, kafka.KafkaError):
        pass  # the next attempt asks again


def pace(client: Any) -> None:
    """Let an aiokafka client pause between requests for metadata while an answer is incomplete."""

    def paced(update: internals.UpdateMetadata) -> internals.UpdateMetadata:
        earliest = 0.0

        async def update_paced(cluster: Any, topics: Collection[str]) -> Any:
            nonlocal earliest
            await asyncio.sleep(max(0.0, earliest - monotonic()))
            answered = False
            try:
                answered = await update(cluster, topics)
            finally:
                earliest = 0.0 if answered and _complete(cluster, topics) else monotonic() + PAUSE
            return answered

        return update_paced

    internals.wrap_metadata_update(client, paced)


def _complete(cluster: Any, topics: Iterable[str]) -> bool:
    """Whether the topics exist and all their partitions have leaders; without topics, those of the whole cluster."""
    names = set(topics) or cluster.topics(exclude_internal_topics=False)
    return all(
        cluster.partitions_for_topic(name) == (cluster.available_partitions_for_topic(name) or ()) for name in names
    )

"""Leaders: the broker that takes a partition's records. While it is dead and none has its place, there is nobody.

aiokafka takes records for such a partition, asks for the cluster's metadata in a loop that has no pause, and gives up
after request_timeout_ms. So records are kept from it where no leader is known, and its questions are paced.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from time import monotonic
from typing import Any

from aiokafka import TopicPartition
from aiokafka import errors as kafka

from evbus_like.engine.errors import TransientError

Place = tuple[str, int]  # topic and partition

PAUSE = 0.1  # seconds between two questions for metadata; the retry.backoff.ms of Kafka's own clients
LOOKS = (0.0, 0.1, 0.2, 0.4)  # seconds before each look: a new topic, or an election, takes less than their sum


class NoLeader(TransientError):
    """The event was not handed to aiokafka, for its partition has no leader."""


def known(cluster: Any, place: Place) -> bool:
    """Whether a partition has a leader, by the metadata that is here already."""
    return cluster.leader_for_partition(TopicPartition(*place)) not in (None, -1)


def reachable(cluster: Any, topic: str, partitions: Sequence[int]) -> Sequence[int]:
    """Give those of a topic's partitions that have a leader, or all where none has."""
    return sorted(cluster.available_partitions_for_topic(topic) or ()) or partitions


async def look(client: Any, places: Collection[Place], again: bool, within: float) -> None:
    """Ask for the leaders of partitions, for at most `within` seconds; once only, where that was done before."""
    try:
        async with asyncio.timeout(within):
            for wait in LOOKS[:1] if again else LOOKS:
                await asyncio.sleep(wait)
                await client.force_metadata_update()
                if all(known(client.cluster, place) for place in places):
                    break
    except (TimeoutError, kafka.KafkaError):
        pass  # what is not known now is asked for at the next try


def pace(client: Any) -> None:
    """Let an aiokafka client pause between questions for metadata, while an answer leaves something open."""
    update = client._metadata_update
    earliest = 0.0

    async def paced(cluster: Any, topics: Collection[str]) -> Any:
        nonlocal earliest
        await asyncio.sleep(max(0.0, earliest - monotonic()))
        answered = False
        try:
            answered = await update(cluster, topics)
        finally:
            earliest = 0.0 if answered and _complete(cluster, topics) else monotonic() + PAUSE
        return answered

    client._metadata_update = paced


def _complete(cluster: Any, topics: Iterable[str]) -> bool:
    """Whether the topics are there, and all partitions have leaders; without topics, those of the whole cluster."""
    names = set(topics) or cluster.topics(exclude_internal_topics=False)
    return all(
        cluster.partitions_for_topic(name) == (cluster.available_partitions_for_topic(name) or ()) for name in names
    )

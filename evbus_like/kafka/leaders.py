"""Leaders: the brokers that take the records of partitions; after a failure a partition may have none for a while.

aiokafka accepts records for a partition without a leader, and gives up after request_timeout_ms. So it gets no records
for such partitions.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Sequence
from typing import Any

from aiokafka import TopicPartition
from aiokafka import errors as kafka

from evbus_like.engine.errors import Stalled
from evbus_like.kafka import codes, internals

Place = tuple[str, int]  # topic and partition

BROKER = re.compile(r"\(node id (\d+)\)|Connection at (\S+:\d+)")  # in texts of aiokafka's errors
PAUSES = (0.0, 0.1, 0.2, 0.4)  # seconds before each look-up: a new topic, or an election, takes less than their sum


class NoLeader(Stalled):
    """The event was not given to aiokafka because its partition has no leader."""


def known(cluster: Any, place: Place) -> bool:
    """Whether a partition has a leader, by the metadata at hand."""
    return cluster.leader_for_partition(TopicPartition(*place)) not in (None, -1)


def reachable(cluster: Any, topic: str, partitions: Sequence[int]) -> Sequence[int]:
    """Give the partitions of a topic that have a leader, or all if none has."""
    return sorted(cluster.available_partitions_for_topic(topic) or ()) or partitions


def trouble(cluster: Any, place: Place, reason: Exception | None = None, needed: int = 1) -> str:
    """Say in the cluster's terms why a partition takes no records.

    `reason` is why aiokafka sends them again, if it does, and `needed` the topic's min.insync.replicas, if known.
    """
    topic, partition = place
    name = f"partition {partition} of topic {topic!r}"
    about = internals.partition_of(cluster, place)
    if about is None or about.leader in (None, -1):
        where = f"; its replicas are on {_brokers(about.replicas)}" if about is not None and about.replicas else ""
        return f"{name} has no leader{where}: is one of the cluster's brokers down?"
    code = getattr(reason, "errno", None)
    # A leader with too few may give no answer until the request's timeout.
    if code in codes.TOO_FEW_REPLICAS or len(about.isr) < needed > 1:
        missing = [node for node in about.replicas if node not in about.isr]
        needs = needed if needed > 1 else "more (the topic's min.insync.replicas)"  # 1 stands for what is not known
        down = f": {_brokers(missing)} down or behind" if missing else ""
        why = f" ({codes.name(code)})" if code in codes.TOO_FEW_REPLICAS else ""
        count = f"{len(about.isr)} in-sync replica{'s' * (len(about.isr) != 1)}"
        return f"{name} has {count} and needs {needs}{down}{why}"
    leader = cluster.broker_metadata(about.leader)
    broker = f"broker {about.leader}{f' at {leader.host}:{leader.port}' if leader else ''}"
    at = f"{broker}, its leader,"
    if (former := _other_than(about.leader, leader, reason)) is not None:
        return f"{name} is not confirmed: {former} cannot be reached, and {broker} is its leader now"
    if reason is None:
        return f"{name} is not confirmed: {at} does not answer"
    if code is not None and code >= 0:
        return f"{name} is not confirmed: {at} answers {codes.name(code)}"
    return f"{name} is not confirmed: {at} cannot be reached ({reason})"


def _other_than(leader: int, known: Any, reason: Exception | None) -> str | None:
    """Return the broker that an error of aiokafka is about, if it is not the leader: it was that until now."""
    about = BROKER.search(str(reason))
    if about is None:
        return None
    node, place = about.groups()
    if node is not None:
        return None if int(node) == leader else f"broker {node}"
    return None if known is None or place == f"{known.host}:{known.port}" else f"the broker at {place}"


def _brokers(nodes: Sequence[int]) -> str:
    names = ", ".join(map(str, sorted(nodes)))
    return f"broker {names}" if len(nodes) == 1 else f"brokers {names}"


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

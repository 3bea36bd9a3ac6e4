"""Brokers: how a client goes on when one of them does not answer.

aiokafka waits `request_timeout_ms` for a broker that is frozen or cut off, also for metadata and for a connection,
during which it makes none to other brokers either. Meanwhile the cluster has long given its partitions to others. So
every request that waits makes the client ask the other brokers for metadata, and once the cluster counts a broker out,
its connections are closed: aiokafka sends again what waited there, to the new leaders, under the same sequence numbers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress
from time import monotonic
from typing import Any

from aiokafka import errors as kafka
from aiokafka.protocol.metadata import MetadataRequest

from evbus_like.kafka import internals

PAUSE = 0.1  # seconds between two requests for metadata; the retry.backoff.ms of Kafka's own clients
SLOW = 1.0  # seconds without an answer after which a client asks what has become of the broker, and again each time
CONNECT_WITHIN = 10.0  # seconds; the socket.connection.setup.timeout.ms of Kafka's own clients
CONNECT_SOON = 2.0  # seconds; the same while there are other servers to begin with
METADATA_WITHIN = 2.0  # seconds that one broker may take to answer with its metadata


def follow(client: Any) -> None:
    """Let an aiokafka client follow its cluster from broker to broker."""
    internals.replace_metadata_update(client, _Metadata(client).update)
    internals.connect_apart(client, CONNECT_WITHIN)
    internals.connect_quickly_first(client, CONNECT_SOON)
    internals.call_while_waiting(client, SLOW, client.force_metadata_update)


class _Metadata:
    """Asks for metadata: first the brokers that are not slow, each for a short time, and not too often."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._earliest = 0.0  # when the next request may be sent
        self._slow: set[Any] = set()  # brokers that did not answer the last time

    async def update(self, cluster: Any, topics: Collection[str]) -> bool:
        """Update the metadata; gives whether a broker answered."""
        await asyncio.sleep(max(0.0, self._earliest - monotonic()))
        answered = False
        try:
            answered = await self._ask(cluster, topics)
            if not answered and await self._begin_again():
                answered = await self._ask(cluster, topics)
            if not answered:
                cluster.failed_update(None)
        finally:
            self._earliest = 0.0 if answered and complete(cluster, topics) else monotonic() + PAUSE
        return answered

    async def _ask(self, cluster: Any, topics: Collection[str]) -> bool:
        request = MetadataRequest(list(topics) if topics else None)
        for node in sorted(internals.nodes_of(self._client), key=self._waits_at):
            with suppress(kafka.KafkaError, OSError, TimeoutError):
                async with asyncio.timeout(METADATA_WITHIN):
                    connection = await internals.idle_connection_to(self._client, node)
                    metadata = None if connection is None else await connection.send(request)
                if metadata is not None:
                    self._slow.discard(node)
                    if metadata.brokers:  # there are none while the first topic is being created
                        cluster.update_metadata(metadata)
                        internals.close_unlisted(self._client)
                    return bool(metadata.brokers)
            self._slow.add(node)
        return False

    def _waits_at(self, node: Any) -> tuple[bool, bool]:
        return node in self._slow, internals.is_busy(self._client, node)

    async def _begin_again(self) -> bool:
        """Look for brokers at the servers of the profile: all that were known are gone."""
        with suppress(kafka.KafkaError, OSError, TimeoutError):
            await self._client.bootstrap()
            return True
        return False


def complete(cluster: Any, topics: Collection[str]) -> bool:
    """Whether the topics exist and all their partitions have leaders; without topics, those of the whole cluster."""
    names = set(topics) or cluster.topics(exclude_internal_topics=False)
    return all(
        cluster.partitions_for_topic(name) == (cluster.available_partitions_for_topic(name) or ()) for name in names
    )

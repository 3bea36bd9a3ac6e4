"""Requests in flight: a broker works on one while the answer to another comes back and the next one is made.

aiokafka has one for each broker, and takes four turns of the event loop from its answer to the next one's first byte.
A broker takes the requests of a connection in their order, and the batches of an idempotent producer only in the order
of their numbers (KIP-98): behind a batch that it did not take, it refuses those that follow. These are sent again, in
order, once all requests in flight are answered.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection
from time import monotonic
from typing import Any

from evbus_like.kafka.internals import ProduceHandler

MOST = 3  # requests in flight to one broker, which remembers the numbers of the last 5 batches
STEADY_FOR = 60.0  # seconds after a confirm in which a broker certainly knows the producer's last number


class Line:
    """The requests in flight to one broker, the oldest first: each with its batches by partition, and its answer.

    `failed` are partitions with a batch that was not taken, and whether that is sent again.
    """

    def __init__(self) -> None:
        self.requests: deque[tuple[ProduceHandler, dict[Any, Any], asyncio.Task[Any]]] = deque()
        self.failed: dict[Any, bool] = {}

    def has(self, place: Any) -> bool:
        """Whether a batch of a partition is in flight."""
        return any(place in batches for _, batches, _ in self.requests)


class Pipeline:
    """The requests of one producer; it does the work of the sender's `_send_produce_req`."""

    def __init__(self, producer: Any) -> None:
        self.reasons: dict[Any, Exception] = {}  # why a batch is sent again, by TopicPartition
        self._sender = producer._sender
        self._accumulator = producer._message_accumulator
        self._cluster = producer.client.cluster
        self._lines: dict[int, Line] = {}  # by broker
        self._confirmed: dict[Any, float] = {}  # when a partition's last batch was confirmed, if it was
        self._sender._send_produce_req = self.send

    async def send(self, node: int, batches: dict[Any, Any]) -> None:
        """Send batches to a broker, and what comes for it meanwhile; returns when all is answered."""
        line, again = Line(), list[Any]()
        self._lines[node] = line
        self._begin(node, line, batches)
        while line.requests:
            await asyncio.wait([line.requests[0][2]])
            handler, batches, answer = line.requests.popleft()
            again += handler.take(answer, line.failed)
            self._note(batches, line)
            self._fill(node, line)
        del self._lines[node]
        if again:
            await asyncio.sleep(self._sender._retry_backoff)
            for batch in reversed(again):
                self._accumulator.reenqueue(batch)
            await self._sender.client._maybe_wait_metadata()
        self._unmute(line.failed)
        self._sender._in_flight.remove(node)

    def added(self, place: Any) -> None:
        """Send a batch that was added, if there is a request in flight to its broker and there may be one more."""
        node = self._cluster.leader_for_partition(place)
        if (line := self._lines.get(node)) is not None:
            self._fill(node, line)

    def _fill(self, node: int, line: Line) -> None:
        sender = self._sender
        if line.failed or len(line.requests) >= MOST or sender.sender_task.cancelling():
            return
        batches = {}
        for place in list(self._accumulator._batches):
            if self._cluster.leader_for_partition(place) != node:
                continue
            if place in sender._muted_partitions and not (line.has(place) and self._is_steady(place)):
                continue
            if self._accumulator._batches[place][0].remaining_linger():
                continue
            batch = self._accumulator._pop_batch(place)
            if batch.is_empty():
                batch.done_noack()
            else:
                batches[place] = batch
        if batches:
            sender._muted_partitions.update(batches)
            self._begin(node, line, batches)

    def _is_steady(self, place: Any) -> bool:
        """Whether a broker would refuse a batch that comes without the one before it, for it knows the last number."""
        numbered = self._sender._txn_manager is not None
        return numbered and monotonic() - self._confirmed.get(place, -STEADY_FOR) < STEADY_FOR

    def _begin(self, node: int, line: Line, batches: dict[Any, Any]) -> None:
        handler = ProduceHandler(self._sender, batches, self.reasons)
        answer = asyncio.create_task(self._sender.client.send(node, handler.create_request()))
        line.requests.append((handler, batches, answer))

    def _note(self, batches: dict[Any, Any], line: Line) -> None:
        now = monotonic()
        for place in batches:
            if place in line.failed:
                self._confirmed.pop(place, None)
            else:
                self._confirmed[place] = now
        self._unmute([place for place in batches if place not in line.failed and not line.has(place)])

    def _unmute(self, places: Collection[Any]) -> None:
        """Let the sender's task have partitions again; wake it if something waits for them."""
        self._sender._muted_partitions.difference_update(places)
        waiter = self._accumulator.waiter()
        if not waiter.done() and any(place in self._accumulator._batches for place in places):
            waiter.set_result(None)

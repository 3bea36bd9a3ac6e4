"""Nodes of a RabbitMQ cluster are killed, frozen and restarted under load: what is lost, and how long nothing flows.

    python -m tests.faults.rabbitmq_cluster             # every fault, three times; about ten minutes
    python -m tests.faults.rabbitmq_cluster --rounds 1

Two buses put 200 events a second each, one to memory and one to its outbox; a handler receives all of them from quorum
queues. A plain publisher of aio-pika with the same hosts runs beside them, as a measure of what the cluster itself
takes: it begins at the node that fails, and its quorum queue is led there. The exit code is 0 if no event was lost.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import aio_pika

from evbus_like.testing import eventually, new_hub, running
from tests.brokers.rabbitmq_cluster import RabbitCluster, RabbitNode
from tests.integration.receiving import RecordingHandler, handle, receiving
from tests.integration.support import channel

RATE = 200  # events a second, of each bus
QUICK = {"timeout": 5.0, "retry": {"first": 0.05, "max": 1.0}}
QUORUM: Any = {"x-queue-type": "quorum"}
FLOWS = 120.0  # seconds until all flows again, on a busy machine


@dataclass
class Pace:
    """Counts what was done, and the longest time without it."""

    count: int = 0
    longest: float = 0.0
    last: float = field(default_factory=time.monotonic)

    def note(self, count: int) -> None:
        """Take the count of now."""
        now = time.monotonic()
        if count != self.count:
            self.count, self.last = count, now
        self.longest = max(self.longest, now - self.last)

    def reset(self) -> None:
        """Begin again with the longest time."""
        self.longest, self.last = 0.0, time.monotonic()


class Load:
    """Buses that put, and a handler that receives, all on one cluster; if asked for, a plain publisher beside them."""

    def __init__(self, cluster: RabbitCluster, name: str, plain: bool = False) -> None:
        self.cluster, self.name, self.plain = cluster, name, plain
        self.put = 0
        self.seen = RecordingHandler()
        self.paces: dict[str, Pace] = {}
        self.hubs: list[Any] = []
        self.worker: Any = None
        self.at_handlers = False  # where the plain publisher connects first, and has its queue
        self._plain = 0

    def profile(self, **options: Any) -> dict[str, Any]:
        """The data of a profile that knows all hosts."""
        connection = {"hosts": self.cluster.hosts, "timeout": 5.0, "heartbeat": 2}
        return {"connection": connection, **QUICK, **options}

    @asynccontextmanager
    async def run(self, folder: str) -> AsyncIterator[Load]:
        """Run all until the block ends."""
        exchange = f"{self.name}.events"
        async with channel(self.cluster.nodes[0].url) as opened:
            await opened.declare_exchange(exchange, aio_pika.ExchangeType.TOPIC, durable=True)
        puts, stored = self.profile(exchange=exchange), new_hub()
        stored.OPT = {"evbus_like": {"outbox_path": f"{folder}/outbox.sqlite"}}
        async with (
            receiving(self.profile(quorum=True), handle(self.seen, self.name, "placed", max_workers=50)) as self.worker,
            running({"amqp": {"default": puts}}) as memory,
            running({"amqp": {"default": {**puts, "outbox": "always"}}}, stored) as durable,
        ):
            self.hubs = [memory, durable]
            self.paces = {name: Pace() for name in self._counts()}
            working = [self._puts(), self._watch(), *([self._publish_plainly()] if self.plain else ())]
            tasks = [asyncio.create_task(work) for work in working]
            try:
                yield self
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _puts(self) -> None:
        while True:
            for hub in self.hubs:
                self.put += 1
                hub.evbus.broker.put_nowait("placed", self.put)
            await asyncio.sleep(1 / RATE)

    async def _watch(self) -> None:
        while True:
            for name, count in self._counts().items():
                self.paces[name].note(count)
            await asyncio.sleep(0.01)

    def _counts(self) -> dict[str, int]:
        memory, durable = (hub.evbus.init.status()["destinations"]["amqp:default"]["delivered"] for hub in self.hubs)
        handled = len(self.seen.events)
        counts = {"put, memory": memory, "put, outbox": durable, "handled": handled}
        return {**counts, "plain aio-pika": self._plain} if self.plain else counts

    async def _publish_plainly(self) -> None:
        """Publish, confirmed one by one, on a connection to the next node whenever one fails."""
        await eventually(lambda: all(self._counts()[name] for name in ("put, memory", "handled")), timeout=FLOWS)
        turn = self.cluster.nodes.index(self.handling() if self.at_handlers else self.connected(self.hubs[0]))
        while True:
            with suppress(Exception):
                async with asyncio.timeout(5.0):
                    connection = await aio_pika.connect(f"{self.cluster.nodes[turn % 3].url}?heartbeat=2")
                try:
                    opened = await connection.channel()
                    if not self._plain:
                        await opened.declare_queue(f"{self.name}.plain", durable=True, arguments=QUORUM)
                    while True:
                        async with asyncio.timeout(5.0):
                            await opened.default_exchange.publish(
                                aio_pika.Message(b"x", delivery_mode=2), f"{self.name}.plain"
                            )
                        self._plain += 1
                        await asyncio.sleep(1 / RATE)
                finally:
                    with suppress(Exception):
                        async with asyncio.timeout(0.1):
                            await connection.close()
            turn += 1
            await asyncio.sleep(0.02)

    def connected(self, hub: Any) -> RabbitNode:
        """The node to which a bus is connected."""
        (lane,) = hub.evbus.RUNTIME.bus.workers
        return self.cluster.node_at(lane.destination.ctx.publisher._connection.target.place)

    def handling(self) -> RabbitNode:
        """The node from which the handler receives; it declared the queue there, so that node led it at first."""
        return self.cluster.node_at(self.worker.group.consumers[0].feed._place)

    async def all_flow(self) -> None:
        """Wait until all have gone on by a second's events."""
        since = self._counts()
        await eventually(lambda: all(count > since[name] + 50 for name, count in self._counts().items()), timeout=FLOWS)

    async def through(self, fault: Callable[[], Awaitable[None]]) -> dict[str, float]:
        """Have a fault happen, and return the longest times without flow, in seconds."""
        await self.all_flow()
        for pace in self.paces.values():
            pace.reset()
        await fault()
        await self.all_flow()
        return {name: round(pace.longest, 2) for name, pace in self.paces.items()}

    async def missing(self) -> set[int]:
        """Stop putting, and return the events that no handler has seen in the end."""
        put = self.put
        with suppress(TimeoutError):
            await eventually(lambda: set(self.seen.bodies) >= set(range(1, put + 1)), timeout=FLOWS)
        return set(range(1, put + 1)) - set(self.seen.bodies)


async def kill_connected(load: Load) -> None:
    """SIGKILL the node to which the first bus is connected."""
    await asyncio.to_thread(load.connected(load.hubs[0]).kill)


async def kill_handling(load: Load) -> None:
    """SIGKILL the node from which the handler receives, and which led its queue."""
    await asyncio.to_thread(load.handling().kill)


async def freeze_connected(load: Load) -> None:
    """Freeze the node to which the first bus is connected, until all go on without it."""
    await asyncio.to_thread(load.connected(load.hubs[0]).pause)


async def freeze_handling(load: Load) -> None:
    """Freeze the node from which the handler receives, and which led its queue, until all go on without it."""
    await asyncio.to_thread(load.handling().pause)


async def roll(load: Load) -> None:
    """Restart one node after the other."""
    for node in load.cluster:
        await asyncio.to_thread(node.restart)
        await load.all_flow()


async def two_away(load: Load) -> None:
    """SIGKILL two nodes, and start them again after a while without a majority."""
    for node in load.cluster.nodes[:2]:
        await asyncio.to_thread(node.kill)
    await asyncio.sleep(3.0)
    await asyncio.to_thread(load.cluster.start)


async def drain_connected(load: Load) -> None:
    """Put the node to which the first bus is connected into maintenance, until all go on without it."""
    node = load.connected(load.hubs[0])
    await asyncio.to_thread(node.evaluate, "rabbit_maintenance:drain().")
    await load.all_flow()
    assert load.connected(load.hubs[0]) is not node
    await asyncio.to_thread(node.evaluate, "rabbit_maintenance:revive().")


FAULTS = (drain_connected, kill_connected, kill_handling, freeze_connected, freeze_handling, roll, two_away)


async def once(cluster: RabbitCluster, fault: Callable[[Load], Awaitable[None]]) -> int:
    """Run one fault, print what it cost, and return how many events were lost."""
    with tempfile.TemporaryDirectory(prefix="evbus-cluster-") as folder:
        load = Load(cluster, f"cluster-{uuid.uuid4().hex[:8]}", plain=True)
        load.at_handlers = fault in (kill_handling, freeze_handling)
        async with load.run(folder):
            longest = await load.through(lambda: fault(load))
            for node in cluster:
                await asyncio.to_thread(node.resume)
            await asyncio.to_thread(cluster.start)
            await load.all_flow()
            missing = await load.missing()
        seconds = ", ".join(f"{name} {value} s" for name, value in longest.items())
        repeats = len(load.seen.events) - len(set(load.seen.bodies))
        print(f"{fault.__name__}: {load.put} put, {len(missing)} lost, {repeats} repeated; longest pause: {seconds}")
    return len(missing)


def main() -> int:
    """Run every fault, and return 1 if an event was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="how often each fault happens")
    parser.add_argument("--only", default="", help="only faults whose names contain this")
    chosen = parser.parse_args()
    cluster = RabbitCluster()
    try:
        cluster.start()
        lost = 0
        for _ in range(chosen.rounds):
            for fault in FAULTS:
                if chosen.only in fault.__name__:
                    lost += asyncio.run(once(cluster, fault))
    finally:
        cluster.close()
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())

"""Brokers of a Kafka cluster are killed, frozen and restarted under load: what is lost, and how long nothing flows.

    python -m tests.faults.kafka_cluster                       # every fault, three times; about fifteen minutes
    python -m tests.faults.kafka_cluster --rounds 1 --only freeze

Two buses put 100 events a second each, one in memory and one through its outbox; two worker processes handle those of
the first. A producer and a consumer of plain aiokafka with the same settings run beside them, as a measure of what the
cluster itself takes. The exit code is 0 if no event was lost.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

from evbus_like.testing import eventually, new_hub
from tests.brokers.kafka_cluster import KafkaCluster, KafkaNode
from tests.faults.kafka_flows import (
    Flow,
    Stream,
    bus_stream,
    keys_led_by,
    make_topic,
    plain_handler,
    plain_stream,
    read_flow,
)
from tests.integration.workers import Workers

RATE = 100.0  # events a second, of each stream
SESSION = 6.0  # seconds: the session_timeout of handlers
VICTIM = 2  # the broker that is killed or frozen; it leads the partitions of a third of the keys
LED, OTHERS = keys_led_by(VICTIM)
FLOWS = 120.0  # seconds until all flows again, on a busy machine


class Load:
    """Streams on topics of their own, and what handlers have seen of the first one."""

    def __init__(self, cluster: KafkaCluster, name: str) -> None:
        self.cluster, self.name = cluster, name
        self.streams: list[Stream] = []
        self.read: list[Flow] = []

    @property
    def victim(self) -> KafkaNode:
        """The broker that is to fail."""
        return self.cluster.node(VICTIM)

    @asynccontextmanager
    async def buses(self, folder: str, **connection: Any) -> AsyncIterator[Load]:
        """Run a bus in memory and one through its outbox until the block ends."""
        await self.topics("memory", "outbox")
        stored = new_hub()
        stored.OPT = {"evbus_like": {"outbox_path": f"{folder}/outbox.sqlite"}}
        async with (
            bus_stream(self.cluster, f"{self.name}.memory", RATE, "put, memory", connection) as memory,
            bus_stream(
                self.cluster, f"{self.name}.outbox", RATE, "put, outbox", connection, hub=stored, outbox="always"
            ) as durable,
        ):
            self.streams += [memory, durable]
            yield self

    async def topics(self, *kinds: str) -> None:
        """Create topics of this load."""
        for kind in kinds:
            await make_topic(self.cluster, f"{self.name}.{kind}")

    def start(self) -> None:
        """Begin to put."""
        for stream in self.streams:
            stream.start()

    async def flow(self, *keys: str, count: int = 30) -> None:
        """Wait until every stream has so many more events of these keys confirmed, of all keys if none is given."""
        flows = [stream.confirmed for stream in self.streams]
        before = [len(flow.of(keys)) for flow in flows]
        await eventually(
            lambda: all(len(flow.of(keys)) >= had + count for flow, had in zip(flows, before, strict=True)), FLOWS
        )

    async def end(self) -> list[str]:
        """Stop putting; gives what is wrong with what the topics have in the end."""
        await asyncio.gather(*(stream.end(FLOWS) for stream in self.streams))
        wrong = []
        for stream, kind in zip(self.streams, ("memory", "outbox", "plain"), strict=False):
            found = await read_flow(self.cluster, f"{self.name}.{kind}")
            self.read.append(found)
            if lost := found.missing(stream.put) if kind != "plain" else set():
                wrong.append(f"{stream.confirmed.name}: {len(lost)} lost, such as {sorted(lost)[:3]}")
            if found.disorder() and kind != "plain":
                wrong.append(f"{stream.confirmed.name}: {found.disorder()} out of order")
        return wrong


async def kill_leader(load: Load) -> None:
    """SIGKILL the leader of a third of the partitions."""
    await asyncio.to_thread(load.victim.kill)
    await load.flow(*LED)


async def freeze_leader(load: Load) -> None:
    """Freeze the leader of a third of the partitions, until all go on without it."""
    load.victim.pause()
    await load.flow(*LED)


async def roll(load: Load) -> None:
    """Restart one broker after the other."""
    for node in load.cluster:
        await asyncio.to_thread(node.restart)
        await load.flow()


async def two_away(load: Load) -> None:
    """SIGKILL two brokers, so that no partition has enough replicas, and start them again after a while."""
    for node in load.cluster.nodes[1:]:
        await asyncio.to_thread(node.kill)
    await asyncio.sleep(10.0)
    await asyncio.to_thread(load.cluster.start)
    await load.flow()


FAULTS = (kill_leader, freeze_leader, roll, two_away)


async def once(cluster: KafkaCluster, fault: Callable[[Load], Awaitable[None]]) -> int:
    """Run one fault, print what it cost, and return how many things went wrong."""
    load = Load(cluster, f"cluster-{uuid.uuid4().hex[:8]}")
    await load.topics("plain")
    topic = f"{load.name}.memory"
    options = {"connection": {"bootstrap_servers": cluster.bootstrap}, "session_timeout": SESSION, "topics": [topic]}
    with tempfile.TemporaryDirectory(prefix="evbus-cluster-") as folder:
        workers = Workers(
            Path(folder), {"kafka": {"default": options}}, source="orders", event_types=["*"], since="earliest"
        )
        async with (
            load.buses(folder),
            plain_stream(cluster, f"{load.name}.plain", RATE) as plain,
            workers,
            plain_handler(cluster, topic, SESSION) as consumed,
        ):
            load.streams.append(plain)
            await asyncio.gather(workers.start(), workers.start())
            load.start()
            await load.flow()
            since, wall = monotonic(), time.time()
            await fault(load)
            load.victim.resume()
            await asyncio.to_thread(cluster.start)
            await load.flow()
            wrong = await load.end()
            handled = Flow("handled")
            lost = await _wait_for_handlers(workers, handled, load.streams[0])
            wrong += [f"handlers: {lost} lost"] if lost else []
            print(f"{fault.__name__}: {', '.join(wrong) or 'nothing lost, all in order'}")
            flows = [(each.confirmed, since) for each in load.streams]
            for flow, begun in [*flows, (handled, wall), (consumed, since)]:
                led, others = flow.gap(begun, LED), flow.gap(begun, OTHERS)
                print(
                    f"    {flow.name:12} pauses: {led:5.1f} s its keys, {others:5.1f} s others; {len(flow.done)} done"
                )
            print("    repeated in the topics:", ", ".join(str(found.repeats()) for found in load.read), flush=True)
    return len(wrong)


async def _wait_for_handlers(workers: Workers, handled: Flow, stream: Stream) -> int:
    """Wait until the workers have handled all of a stream; gives how many are missing in the end."""
    deadline = monotonic() + FLOWS
    while True:
        notes = sorted(workers.notes("done"), key=lambda note: note["time"])
        handled.done = [(note["time"], note["key"], note["body"]["number"]) for note in notes]
        missing = len(handled.missing(stream.put))
        if not missing or monotonic() > deadline:
            return missing
        await asyncio.sleep(0.5)


def main() -> int:
    """Run every fault, and return 1 if something went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="how often each fault happens")
    parser.add_argument("--only", default="", help="only faults whose names contain this")
    chosen = parser.parse_args()
    cluster, wrong = KafkaCluster(), 0
    try:
        cluster.start()
        for _ in range(chosen.rounds):
            for fault in FAULTS:
                if chosen.only in fault.__name__:
                    wrong += asyncio.run(once(cluster, fault))
    finally:
        cluster.close()
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

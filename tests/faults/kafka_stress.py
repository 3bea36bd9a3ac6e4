"""Handlers on Kafka that fail in every way at once: is every event settled, and no offset committed before its time?

    python -m tests.faults.kafka_stress                     # 100,000 events
    python -m tests.faults.kafka_stress --count 5000 --seed 7

Handlers with a consumer group each and 10 to 100 workers, some of which take batches, fail for a third of their events,
as in `tests/faults/stress.py`. Each commit is compared with what is settled. The exit code is 0 if no event was lost,
no offset was committed early, and none came again after it was done, unless a group had lost its partitions meanwhile.

With `--cut 5` all connections are reset every 5 seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from evbus_like.handlers import REJECT
from evbus_like.kafka import group
from tests.brokers.fleet import Fleet
from tests.faults.proxy import Proxy
from tests.faults.stress import Outcome, Slow, cut, handlers_of, options_of, settled, troubles
from tests.integration.records import publish as publish_records
from tests.integration.records import total_committed
from tests.integration.sources import handler, receiving
from tests.integration.support import create_topic, read

PARTITIONS = 6


class Noting(Slow):
    """Also notes the places of the records that are not done: those that are done were handled or given up."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.open: dict[int, set[int]] = defaultdict(set)  # offsets of records that came and are not done, by partition

    async def __call__(self, given: Any) -> Any:
        for event in given if self.takes_batches else [given]:
            _, record = event.token
            self.open[record.partition].add(record.offset)
        return await super().__call__(given)

    async def outcome(self, event: Any) -> ValueError | None:
        """Handle one event, and return the error of one that fails."""
        error = await super().outcome(event)
        if error is None or self.policy == REJECT:  # its dead letter is counted at the end
            _, record = event.token
            self.open[record.partition].discard(record.offset)
        return error


class Groups:
    """What the groups of the handlers did: commits that were too early, and how often a group lost its partitions."""

    def __init__(self) -> None:
        self.early: list[str] = []
        self.losses = 0

    @contextmanager
    def watched(self, calls: dict[str, Noting]) -> Iterator[None]:
        """Compare each commit with what the handler of its group has open, and count losses of partitions."""
        groups, member = self, group.GroupMembership
        send, take_away = member._send, member.on_partitions_revoked

        async def checked(self: Any, offsets: dict[Any, int]) -> None:
            call = calls[self._feed.subscription.name]
            for place, offset in offsets.items():
                before = [each for each in call.open[place.partition] if each < offset]
                if before:
                    groups.early.append(f"{offset} of partition {place.partition} was committed before {min(before)}")
            await send(self, offsets)

        async def counted(self: Any, revoked: Any) -> None:
            groups.losses += bool(revoked)
            await take_away(self, revoked)

        member._send, member.on_partitions_revoked = checked, counted  # type: ignore[method-assign]
        try:
            yield
        finally:
            member._send, member.on_partitions_revoked = send, take_away  # type: ignore[method-assign]


async def stress(kafka: Any, count: int, seed: int, deadline: float, cut_every: float = 0.0) -> Outcome:
    """Put `count` events to the handlers on this Kafka, and wait until they are done."""
    chance, name, outcome, groups = random.Random(seed), f"stress-{uuid.uuid4().hex[:8]}", Outcome(), Groups()
    calls = handlers_of(Noting, chance)
    handlers = [_handler(call, place, name) for place, call in enumerate(calls)]
    share, topic, bootstrap = count // len(handlers), f"{name}.events", kafka.bootstrap
    await create_topic(bootstrap, topic, PARTITIONS)
    begun = time.monotonic()
    with Proxy(kafka.proxied_port, kafka.proxy_port) as proxy, troubles() as found:
        profiles = {"kafka": {"default": {"connection": {"bootstrap_servers": f"{kafka.host}:{proxy.port}"}}}}
        with groups.watched({f"h{place}": call for place, call in enumerate(calls)}):
            async with receiving(profiles, *handlers) as running:
                cutting = asyncio.create_task(cut(proxy, cut_every))
                await asyncio.gather(
                    *(
                        publish_records(bootstrap, topic, range(share), f"n{place}", key=_key)
                        for place in range(len(handlers))
                    )
                )
                await settled(calls, share, deadline)
                cutting.cancel()
                await asyncio.gather(cutting, return_exceptions=True)
                await settled(calls, share, deadline)
                outcome.failed = sum(each.stats.failed for each in running.consumers)
                outcome.connections, outcome.lost_partitions = proxy.attempts, groups.losses
    outcome.may_repeat = bool(outcome.lost_partitions or cut_every)
    outcome.events, outcome.seconds = share * len(handlers), time.monotonic() - begun
    outcome.troubles = [*([] if outcome.may_repeat else found), *groups.early]
    for place, call in enumerate(calls):
        queue = f"evt-{name}-n{place}--shipping.h{place}"
        letters = await read(bootstrap, f"{queue}.dead", 0) if call.given_up else []
        outcome.count(place, call, share, [int(letter.value) for letter in letters])
        outcome.left_in_queues += outcome.events - await total_committed(bootstrap, topic, queue)
    return outcome


def _handler(call: Noting, place: int, name: str) -> Any:
    async def take(given: Any) -> Any:
        return await call(given)

    return handler(take, name, f"n{place}", name=f"h{place}", **options_of(call))


def _key(number: int) -> str:
    return f"k{number % 500}"


def main() -> int:
    """Run a stress on a broker of its own and print what it found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000, help="events")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--cut", type=float, default=0.0, help="seconds between two cuts of all connections; 0: never")
    given = parser.parse_args()
    logging.getLogger("evbus_like").setLevel(logging.WARNING)
    logging.getLogger("evbus_like.handlers").propagate = False
    with Fleet(["kafka"]) as fleet:
        kafka: Any = fleet.get("kafka")
        outcome = asyncio.run(stress(kafka, given.count, given.seed, 30.0, given.cut))
    print(
        f"{outcome.events} events in {outcome.seconds:.0f} s (seed {given.seed}): {outcome.failed} failures,"
        f" {outcome.given_up} given up, {outcome.dead} dead letters, {len(outcome.lost)} lost; {outcome};"
        f" groups lost their partitions {outcome.lost_partitions} times; {outcome.connections} connections"
    )
    print("\n".join(outcome.violations[:20]) or "nothing was wrong")
    return 1 if outcome.violations else 0


if __name__ == "__main__":
    sys.exit(main())

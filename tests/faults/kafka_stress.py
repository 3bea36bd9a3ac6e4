"""Handlers on Kafka that fail in every way at once: is every event settled, and no offset committed before its time?

    python -m tests.faults.kafka_stress                     # 100,000 events
    python -m tests.faults.kafka_stress --count 5000 --seed 7

Nine handlers with a consumer group each and 10 to 100 workers fail for a third of their events, as in
`tests/faults/stress.py`. Each commit is compared with what is settled. The exit code is 0 if nothing was wrong.
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
from tests.faults.stress import ATTEMPTS, POLICIES, WORKERS, Outcome, Slow, settled, troubles
from tests.integration.records import publish as publish_records
from tests.integration.records import total_committed
from tests.integration.sources import handler, receiving
from tests.integration.support import create_topic, read

PARTITIONS = 6


class Noting(Slow):
    """Also notes the places of the records that are done: handled, given up, or of another handler's type."""

    def __init__(self, policy: str, chance: random.Random) -> None:
        super().__init__(policy, chance)
        self.open: dict[int, set[int]] = defaultdict(set)  # offsets of records that came and are not done, by partition

    async def __call__(self, event: Any) -> None:
        _, record = event.token
        self.open[record.partition].add(record.offset)
        try:
            await super().__call__(event)
        except ValueError:
            if self.policy == REJECT:  # its dead letter is counted at the end
                self.open[record.partition].discard(record.offset)
            raise
        self.open[record.partition].discard(record.offset)


@contextmanager
def commits_checked(calls: dict[str, Noting]) -> Iterator[list[str]]:
    """Compare each commit with what the handler of its group has open; gives what was wrong."""
    wrong: list[str] = []
    send = group.GroupMembership._send

    async def checked(self: Any, offsets: dict[Any, int]) -> None:
        call = calls[self._feed.subscription.name]
        for place, offset in offsets.items():
            early = [each for each in call.open[place.partition] if each < offset]
            if early:
                wrong.append(f"{offset} of partition {place.partition} was committed while {min(early)} was not done")
        await send(self, offsets)

    group.GroupMembership._send = checked  # type: ignore[method-assign]
    try:
        yield wrong
    finally:
        group.GroupMembership._send = send  # type: ignore[method-assign]


async def stress(bootstrap: str, count: int, seed: int, deadline: float) -> Outcome:
    """Put `count` events to nine handlers on this Kafka, and wait until they are done."""
    chance, name, outcome = random.Random(seed), f"stress-{uuid.uuid4().hex[:8]}", Outcome()
    calls = [Noting(policy, chance) for policy in POLICIES for _ in WORKERS]
    handlers = [_handler(call, place, name) for place, call in enumerate(calls)]
    share, topic = count // len(handlers), f"{name}.events"
    await create_topic(bootstrap, topic, PARTITIONS)
    profiles = {"kafka": {"default": {"connection": {"bootstrap_servers": bootstrap}}}}
    begun = time.monotonic()
    by_name = {f"h{place}": call for place, call in enumerate(calls)}
    with troubles() as outcome.troubles, commits_checked(by_name) as wrong:
        async with receiving(profiles, *handlers) as running:
            await asyncio.gather(
                *(
                    publish_records(bootstrap, topic, range(share), f"n{place}", key=_key)
                    for place in range(len(handlers))
                )
            )
            await settled(list(calls), share, deadline)
            outcome.failed = sum(each.stats.failed for each in running.consumers)
    outcome.events, outcome.seconds = share * len(handlers), time.monotonic() - begun
    outcome.troubles += wrong
    for place, call in enumerate(calls):
        outcome.lost += [f"n{place}: {number}" for number in range(share) if number not in call.handled | call.given_up]
        outcome.given_up += len(call.given_up)
        queue = f"evt-{name}-n{place}--shipping.h{place}"
        outcome.left_in_queues += outcome.events - await total_committed(bootstrap, topic, queue)
        if call.given_up:
            outcome.dead += len(await read(bootstrap, f"{queue}.dead", len(call.given_up)))
    return outcome


def _handler(call: Noting, place: int, name: str) -> Any:
    async def take(event: Any) -> None:
        await call(event)

    return handler(
        take,
        name,
        f"n{place}",
        name=f"h{place}",
        on_error=call.policy,
        max_workers=WORKERS[place % len(WORKERS)],
        attempts=ATTEMPTS + 1,
        backoff=0.1,
        max_backoff=0.2,
        expected_exceptions=(ValueError,),
    )


def _key(number: int) -> str:
    return f"k{number % 500}"


def main() -> int:
    """Run a stress on a broker of its own and print what it found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000, help="events")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    given = parser.parse_args()
    logging.getLogger("evbus_like").setLevel(logging.WARNING)
    logging.getLogger("evbus_like.handlers").propagate = False
    with Fleet(["kafka"]) as fleet:
        kafka: Any = fleet.get("kafka")
        outcome = asyncio.run(stress(kafka.bootstrap, given.count, given.seed, 30.0))
    print(
        f"{outcome.events} events in {outcome.seconds:.0f} s (seed {given.seed}): {outcome.failed} failures,"
        f" {outcome.given_up} given up, {outcome.dead} dead letters, {len(outcome.lost)} lost"
    )
    print("\n".join(outcome.violations[:20]) or "nothing was wrong")
    return 1 if outcome.violations else 0


if __name__ == "__main__":
    sys.exit(main())

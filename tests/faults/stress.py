"""Handlers that fail in every way at once: is every event handled or dead-lettered, and does every connection last?

    python -m tests.faults.stress                     # 100,000 events
    python -m tests.faults.stress --count 5000 --seed 7

Several handlers share one profile of a RabbitMQ of its own, behind a proxy that slows acknowledgements down. They have
10 to 100 workers each, and fail for a third of their events: those with REQUEUE and RETRY until a later attempt, those
with REJECT for good. The exit code is 0 if no event was lost and no connection was closed.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from evbus_like.handlers import REJECT, REQUEUE, RETRY
from tests.brokers.fleet import Fleet
from tests.faults.proxy import UP, Proxy
from tests.integration.receiving import handle, receiving
from tests.integration.support import channel, lengths, publish_fast

WORKERS = (10, 25, 100)
POLICIES = (REQUEUE, RETRY, REJECT)
FAILING = 3  # one event of so many fails
ATTEMPTS = 3  # at most, until it is handled


class Slow:
    """Fails for some numbers, and notes those that it has handled and those that it gave up."""

    def __init__(self, policy: str, chance: random.Random) -> None:
        self.policy = policy
        self.handled: set[int] = set()
        self.given_up: set[int] = set()
        self._left: dict[int, int] = {}  # failures to come
        self._chance = chance

    async def __call__(self, event: Any) -> None:
        number = event.body
        if self._chance.random() < 0.5:
            await asyncio.sleep(self._chance.random() / 500)
        if number % FAILING:
            self.handled.add(number)
            return
        if self.policy == REJECT:
            self.given_up.add(number)
            raise ValueError("never")
        left = self._left.setdefault(number, self._chance.randrange(1, ATTEMPTS))
        if left:
            self._left[number] = left - 1
            raise ValueError("not yet")
        self.handled.add(number)


@dataclass
class Outcome:
    """What a stress found; `lost` are events that were neither handled nor given up."""

    events: int = 0
    seconds: float = 0.0
    lost: list[str] = field(default_factory=list)
    failed: int = 0
    left_in_queues: int = 0
    dead: int = 0
    given_up: int = 0
    connections: int = 0
    troubles: list[str] = field(default_factory=list)

    @property
    def violations(self) -> list[str]:
        """What was wrong, in words."""
        found = [f"{len(self.lost)} events lost, such as {self.lost[:3]}"] if self.lost else []
        found += [f"{self.left_in_queues} events are left in the queues"] if self.left_in_queues else []
        found += [f"{self.dead} dead letters for {self.given_up} events"] if self.dead != self.given_up else []
        return found + self.troubles


async def stress(port: int, count: int, seed: int, deadline: float) -> Outcome:
    """Put `count` events to nine handlers on the RabbitMQ at this port, and wait until they are done."""
    chance, name, outcome = random.Random(seed), f"stress-{uuid.uuid4().hex[:8]}", Outcome()
    calls = [Slow(policy, chance) for policy in POLICIES for _ in WORKERS]
    handlers = [
        handle(
            call,
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
        for place, call in enumerate(calls)
    ]
    share = count // len(handlers)
    begun = time.monotonic()
    with Proxy(port) as proxy, troubles() as outcome.troubles:
        profile = {"connection": {"url": f"amqp://guest:guest@127.0.0.1:{proxy.port}/"}, "timeout": 30.0}
        async with receiving(profile, *handlers) as worker:
            proxy.delay(0.001, UP)
            sending = [
                asyncio.create_task(
                    publish_fast(f"amqp://guest:guest@127.0.0.1:{port}/", f"{name}.events", f"n{place}", share)
                )
                for place in range(len(handlers))
            ]
            await asyncio.gather(*sending)
            await settled(calls, share, deadline)
            proxy.heal()
            outcome.failed = sum(each.stats.failed for each in worker.group.consumers)
            outcome.connections = proxy.attempts
    outcome.events, outcome.seconds = share * len(handlers), time.monotonic() - begun
    for place, call in enumerate(calls):
        outcome.lost += [f"n{place}: {number}" for number in range(share) if number not in call.handled | call.given_up]
        outcome.given_up += len(call.given_up)
    async with channel(f"amqp://guest:guest@127.0.0.1:{port}/") as opened:
        for each in handlers:
            ready, dead = await lengths(opened, f"evt-{name}-n{each.name[1:]}--{each.service}.{each.name}")
            outcome.left_in_queues += ready
            outcome.dead += dead
    return outcome


async def settled(calls: list[Slow], share: int, deadline: float) -> None:
    """Wait until all events are done, or nothing has happened for a while."""
    done, since = -1, time.monotonic()
    while done < share * len(calls) and time.monotonic() - since < deadline:
        now = sum(len(call.handled) + len(call.given_up) for call in calls)
        if now != done:
            done, since = now, time.monotonic()
        await asyncio.sleep(0.1)
    await asyncio.sleep(0.5)  # the last acks and dead letters


@contextmanager
def troubles() -> Iterator[list[str]]:
    """Collect what the log says of lost connections and of events that were not settled."""
    found: list[str] = []

    class Collecting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = record.getMessage()
            if "receives nothing" in text or "trying again" in text or "could not settle" in text:
                found.append(text)

    log, handler = logging.getLogger("evbus_like.handlers"), Collecting()
    log.addHandler(handler)
    try:
        yield found
    finally:
        log.removeHandler(handler)


def main() -> int:
    """Run a stress on a broker of its own and print what it found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000, help="events")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    given = parser.parse_args()
    logging.getLogger("evbus_like").setLevel(logging.WARNING)
    logging.getLogger("evbus_like.handlers").propagate = False
    with Fleet(["rabbitmq"]) as fleet:
        rabbitmq: Any = fleet.get("rabbitmq")
        outcome = asyncio.run(stress(rabbitmq.port, given.count, given.seed, 30.0))
    print(
        f"{outcome.events} events in {outcome.seconds:.0f} s (seed {given.seed}): {outcome.failed} failures,"
        f" {outcome.given_up} given up, {outcome.dead} dead letters, {len(outcome.lost)} lost,"
        f" {outcome.connections} connections"
    )
    print("\n".join(outcome.violations[:20]) or "nothing was wrong")
    return 1 if outcome.violations else 0


if __name__ == "__main__":
    sys.exit(main())

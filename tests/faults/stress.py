"""Handlers that fail in every way at once: is every event handled or dead-lettered, and does every connection last?

    python -m tests.faults.stress                     # 100,000 events
    python -m tests.faults.stress --count 5000 --seed 7

Several handlers share one profile of a RabbitMQ of its own, behind a proxy that slows acknowledgements down. They have
10 to 100 workers each, some take batches, and they fail for a third of their events: those with REQUEUE and RETRY until
a later attempt, those with REJECT for good. The exit code is 0 if no event was lost, none was handled again after it
was done, and no connection was closed.

With `--cut 2` all connections are reset every 2 seconds: then events may come again, and none may be lost.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from evbus_like.handlers import REJECT, REQUEUE, RETRY
from tests.brokers.fleet import Fleet
from tests.faults.proxy import UP, Proxy
from tests.integration.receiving import handle, receiving
from tests.integration.support import channel, lengths, publish_fast, take

WORKERS = (10, 25, 100)
BATCH = 20  # events at once, of the handlers that take batches
POLICIES = (REQUEUE, RETRY, REJECT)
FAILING = 3  # one event of so many fails
ATTEMPTS = 3  # at most, until it is handled


class Slow:
    """Fails for some numbers, and notes those that it has handled and those that it gave up."""

    def __init__(self, policy: str, chance: random.Random, workers: int, takes_batches: bool = False) -> None:
        self.policy = policy
        self.workers = workers
        self.takes_batches = takes_batches
        self.handled: set[int] = set()
        self.given_up: set[int] = set()
        self.repeats = 0  # calls with an event that was done
        self._left: dict[int, int] = {}  # failures to come
        self._chance = chance

    async def __call__(self, given: Any) -> Any:
        if not self.takes_batches:
            if (error := await self.outcome(given)) is not None:
                raise error
            return None
        if len(given) > 1 and self._chance.random() < 0.1:
            raise ValueError("none of these")  # each half is called again
        return [await self.outcome(event) for event in given]

    async def outcome(self, event: Any) -> ValueError | None:
        """Handle one event, and return the error of one that fails."""
        number = event.body
        if self._chance.random() < 0.5:
            await asyncio.sleep(self._chance.random() / 500)
        self.repeats += number in self.handled or number in self.given_up
        if number % FAILING:
            self.handled.add(number)
            return None
        if self.policy == REJECT:
            self.given_up.add(number)
            return ValueError("never")
        left = self._left.setdefault(number, self._chance.randrange(1, ATTEMPTS))
        if left:
            self._left[number] = left - 1
            return ValueError("not yet")
        self.handled.add(number)
        return None


def handlers_of(kind: Any, chance: random.Random) -> list[Any]:
    """Make what the handlers call: for each policy some of a few workers and of many, and one that takes batches."""
    return [
        *(kind(policy, chance, workers) for policy in POLICIES for workers in WORKERS),
        *(kind(policy, chance, WORKERS[0], True) for policy in POLICIES),
    ]


def options_of(call: Slow) -> dict[str, Any]:
    """Return the options of a handler."""
    return {
        "on_error": call.policy,
        "max_workers": call.workers,
        "attempts": ATTEMPTS + 1,
        "backoff": 0.1,
        "max_backoff": 0.2,
        "expected_exceptions": (ValueError,),
        **({"batch": BATCH, "linger": 0.05} if call.takes_batches else {}),
    }


@dataclass
class Outcome:
    """What a stress found; `lost` are events that were neither handled nor given up.

    `unwritten` were given up and have no dead letter. `repeats` are calls with an event that was done, `copies` dead
    letters of one that has another: both are allowed where `may_repeat`.
    """

    events: int = 0
    seconds: float = 0.0
    lost: list[str] = field(default_factory=list)
    failed: int = 0
    left_in_queues: int = 0
    dead: int = 0
    given_up: int = 0
    unwritten: list[str] = field(default_factory=list)
    repeats: int = 0
    copies: int = 0
    may_repeat: bool = False
    connections: int = 0
    lost_partitions: int = 0  # how often a consumer group of Kafka lost what it read
    troubles: list[str] = field(default_factory=list)

    @property
    def violations(self) -> list[str]:
        """What was wrong, in words."""
        found = [f"{len(self.lost)} events lost, such as {self.lost[:3]}"] if self.lost else []
        found += [f"{self.left_in_queues} events are left in the queues"] if self.left_in_queues else []
        if self.unwritten:
            found.append(f"{len(self.unwritten)} events given up without a dead letter, such as {self.unwritten[:3]}")
        if (self.repeats or self.copies) and not self.may_repeat:
            found.append(f"{self}, and no connection was lost")
        return found + self.troubles

    def count(self, place: int, call: Slow, share: int, letters: Iterable[int]) -> None:
        """Count what a handler had of its events, and the numbers of its dead letters."""
        found = [*letters]
        self.lost += [f"n{place}: {number}" for number in range(share) if number not in call.handled | call.given_up]
        self.unwritten += [f"n{place}: {number}" for number in sorted(call.given_up.difference(found))]
        self.given_up += len(call.given_up)
        self.repeats += call.repeats
        self.dead += len(found)
        self.copies += len(found) - len(set(found))

    def __str__(self) -> str:
        return f"{self.repeats} events came again after they were done, and {self.copies} dead letters are copies"


async def stress(port: int, count: int, seed: int, deadline: float, cut_every: float = 0.0) -> Outcome:
    """Put `count` events to the handlers on the RabbitMQ at this port, and wait until they are done."""
    chance, name, outcome = random.Random(seed), f"stress-{uuid.uuid4().hex[:8]}", Outcome(may_repeat=bool(cut_every))
    calls = handlers_of(Slow, chance)
    handlers = [
        handle(call, name, f"n{place}", name=f"h{place}", **options_of(call)) for place, call in enumerate(calls)
    ]
    share = count // len(handlers)
    begun = time.monotonic()
    with Proxy(port) as proxy, troubles() as found:
        profile = {"connection": {"url": f"amqp://guest:guest@127.0.0.1:{proxy.port}/"}, "timeout": 30.0}
        async with receiving(profile, *handlers) as worker:
            proxy.delay(0.001, UP)
            sending = [
                asyncio.create_task(
                    publish_fast(f"amqp://guest:guest@127.0.0.1:{port}/", f"{name}.events", f"n{place}", share)
                )
                for place in range(len(handlers))
            ]
            cutting = asyncio.create_task(cut(proxy, cut_every))
            await asyncio.gather(*sending)
            await settled(calls, share, deadline)
            cutting.cancel()
            await asyncio.gather(cutting, return_exceptions=True)
            proxy.heal()
            await settled(calls, share, deadline)
            outcome.failed = sum(each.stats.failed for each in worker.group.consumers)
            outcome.connections = proxy.attempts
    outcome.troubles = [] if cut_every else found
    outcome.events, outcome.seconds = share * len(handlers), time.monotonic() - begun
    async with channel(f"amqp://guest:guest@127.0.0.1:{port}/") as opened:
        for place, (call, each) in enumerate(zip(calls, handlers, strict=True)):
            queue = f"evt-{name}-n{place}--{each.service}.{each.name}"
            ready, dead = await lengths(opened, queue)
            letters = await take(await opened.get_queue(f"{queue}.dead"), dead) if dead else []
            outcome.count(place, call, share, [int(letter.body) for letter in letters])
            outcome.left_in_queues += ready
    return outcome


async def cut(proxy: Proxy, every: float) -> None:
    """Reset all connections every so many seconds."""
    while every:
        await asyncio.sleep(every)
        await asyncio.to_thread(proxy.reset)


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
    parser.add_argument("--cut", type=float, default=0.0, help="seconds between two cuts of all connections; 0: never")
    given = parser.parse_args()
    logging.getLogger("evbus_like").setLevel(logging.WARNING)
    logging.getLogger("evbus_like.handlers").propagate = False
    with Fleet(["rabbitmq"]) as fleet:
        rabbitmq: Any = fleet.get("rabbitmq")
        outcome = asyncio.run(stress(rabbitmq.port, given.count, given.seed, 30.0, given.cut))
    print(
        f"{outcome.events} events in {outcome.seconds:.0f} s (seed {given.seed}): {outcome.failed} failures,"
        f" {outcome.given_up} given up, {outcome.dead} dead letters, {len(outcome.lost)} lost;"
        f" {outcome}; {outcome.connections} connections"
    )
    print("\n".join(outcome.violations[:20]) or "nothing was wrong")
    return 1 if outcome.violations else 0


if __name__ == "__main__":
    sys.exit(main())

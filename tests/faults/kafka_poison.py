"""Events that Kafka, or `put`, must refuse, among good ones: every good one arrives once, every bad one has a reason.

    python -m tests.faults.kafka_poison                     # 1,000 bad among 100,000
    python -m tests.faults.kafka_poison --count 5000 --seed 7

The topic is compacted, takes small records alone, and no old ones. The exit code is 0 if nothing was wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evbus_like.engine.outbox import inspect
from evbus_like.engine.sending import admission
from evbus_like.errors import PutError
from evbus_like.testing import new_hub, running
from tests.brokers.fleet import Fleet
from tests.integration.support import create_topic, read

ONE_OF = 100  # events so many of which one is bad
LIMIT = 20_000  # bytes of a record that the topic takes
DAY = 86_400.0

# What is bad, and a word that its reason must have; `put` refuses the second half.
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no key": ({"routing_key": ""}, "key"),
    "large body": ({"body": "x" * LIMIT}, "max.message.bytes"),
    "large header": ({"headers": {"h": "x" * LIMIT}}, "max.message.bytes"),
    "many headers": ({"headers": {f"h{number}": "x" * 100 for number in range(200)}}, "max.message.bytes"),
    "large key": ({"key": b"\xff" * LIMIT}, "max.message.bytes"),
    "too old": ({"age": 2 * DAY}, "INVALID_TIMESTAMP"),
    "from the future": ({"age": -2 * DAY}, "INVALID_TIMESTAMP"),
    "no key and large": ({"routing_key": "", "body": "x" * LIMIT}, "topic"),
    "tombstone without a key": ({"routing_key": "", "body": None}, "key"),
    "header beyond a request": ({"headers": {"h": "x" * 2**20}}, "'h'"),
    "body beyond a request": ({"body": "x" * 2**21}, "max_event_bytes"),
    "header name": ({"headers": {"n" * 200: "1"}}, "128"),
    "header value": ({"headers": {"h": {"a": 1}}}, "'h'"),
    "header of text that is not UTF-8": ({"headers": {"h": "\ud800"}}, "'h'"),
    "header number": ({"headers": {"h": 2**70}}, "64 bits"),
    "routing key": ({"routing_key": "r" * 300}, "255"),
    "key": ({"key": 7}, "key"),
    "body without a form": ({"body": object()}, "object"),
}


@dataclass
class Outcome:
    """What a run found."""

    good: int = 0
    bad: int = 0
    seconds: float = 0.0
    refused: int = 0
    given_up: int = 0
    sorts: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)


async def poison(bootstrap: str, count: int, seed: int, outbox: Path) -> Outcome:
    """Put `count` events to a topic of this Kafka, one of a hundred a bad one."""
    chance, outcome, topic = random.Random(seed), Outcome(), f"poison-{uuid.uuid4().hex[:8]}"
    limits = {"max_message_bytes": str(LIMIT), "message_timestamp_before_max_ms": str(int(DAY * 1000))}
    await create_topic(bootstrap, topic, 3, cleanup_policy="compact", **limits)
    profile = {
        "connection": {"bootstrap_servers": bootstrap},
        "topics": [topic],
        "tombstones": True,
        "retry": {"attempts": 3},
        "when_full": "spill",
    }
    expected: dict[str, str] = {}  # the ids of events that were accepted and are bad, and a word of their reasons
    begun = time.monotonic()
    hub = new_hub()
    hub.OPT = {"evbus_like": {"outbox_path": str(outbox)}}  # where the dead letters are
    with aged() as age:
        async with running({"kafka": {"default": profile}}, hub):
            for number in range(count):
                if number % ONE_OF != 1:
                    confirm = "accepted" if number else "delivered"  # a lane that was never connected stops at once
                    await hub.evbus.broker.put(f"k{number}", number, confirm=confirm)
                    outcome.good += 1
                    continue
                sort = (
                    chance.choice(list(BAD)) if number > len(BAD) * ONE_OF else list(BAD)[number // ONE_OF % len(BAD)]
                )
                await _put_bad(hub, sort, number, age, expected, outcome)
            account = await hub.evbus.init.stop(120.0)
    outcome.seconds = time.monotonic() - begun
    arrived = Counter(int(record.value) for record in await read(bootstrap, topic, outcome.good))
    wanted = {number for number in range(count) if number % ONE_OF != 1}
    outcome.given_up = account.dead_lettered
    reported = {each.event.id: each.reason for each in inspect.dead_letters(outbox, limit=count)}
    outcome.violations += list(_wrong(arrived, wanted, expected, reported))
    if (account.delivered, account.remaining) != (outcome.good, 0):
        outcome.violations.append(f"{outcome.good} good events, and the account is {account}")
    return outcome


async def _put_bad(
    hub: Any, sort: str, number: int, age: Callable[[float], None], expected: dict[str, str], outcome: Outcome
) -> None:
    what, word = BAD[sort]
    given = {"routing_key": f"k{number}", "body": number, **what}
    age(given.pop("age", 0.0))
    outcome.bad += 1
    outcome.sorts[sort] += 1
    try:
        receipt = await hub.evbus.broker.put(**given)
        expected[receipt.id] = word
    except PutError as error:
        outcome.refused += 1
        if word not in str(error):
            outcome.violations.append(f"{sort}: {word!r} is not in the reason: {error}")
    finally:
        age(0.0)


def _wrong(
    arrived: Counter[int], wanted: set[int], expected: dict[str, str], reported: dict[str, str]
) -> Iterator[str]:
    if missing := wanted.difference(arrived):
        yield f"{len(missing)} good events did not arrive, such as {min(missing)}"
    if extra := set(arrived).difference(wanted):
        yield f"{len(extra)} bad events arrived, such as {min(extra)}"
    if repeated := [number for number, times in arrived.items() if times > 1]:
        yield f"{len(repeated)} events arrived more than once, such as {min(repeated)}"
    for each, word in expected.items():
        if word not in reported.get(each, ""):
            yield f"{word!r} is not in the reason of {each}: {reported.get(each, 'none')}"


@contextmanager
def aged() -> Iterator[Callable[[float], None]]:
    """Let events be accepted so many seconds ago."""
    now, age = time.time, [0.0]
    vars(admission)["time"] = lambda: now() - age[0]
    try:
        yield lambda seconds: age.__setitem__(0, seconds)
    finally:
        vars(admission)["time"] = now


def main() -> int:
    """Run on a broker of its own and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000, help="events")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    given = parser.parse_args()
    logging.getLogger("evbus_like.failures").propagate = False
    with Fleet(["kafka"]) as fleet:
        kafka: Any = fleet.get("kafka")
        with tempfile.TemporaryDirectory() as folder:
            outcome = asyncio.run(poison(kafka.bootstrap, given.count, given.seed, Path(folder) / "outbox.sqlite"))
    print(
        f"{outcome.good} good and {outcome.bad} bad events of {len(outcome.sorts)} sorts in {outcome.seconds:.0f} s"
        f" (seed {given.seed}): {outcome.refused} refused by put, {outcome.given_up} given up"
    )
    print("\n".join(outcome.violations[:20]) or "nothing was wrong")
    return 1 if outcome.violations else 0


if __name__ == "__main__":
    sys.exit(main())

"""Poison events of many sorts among good ones, put to RabbitMQ: does every good one arrive, and each bad one say why?

    python -m tests.faults.poison                            # 1,000 among 100,000
    python -m tests.faults.poison --good 5000 --bad 100 --seed 7

Most sorts are refused at `put`. No queue wants one sort, and for three something on the way ends the connection: in
words about what was sent, in words that may be about the broker, and in silence. The exit code is 0 if every good event
arrived in order, and every bad one was refused, or dead-lettered, with the reason that its sort should have.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import math
import random
import struct
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aio_pika

from evbus_like.errors import PutError
from evbus_like.testing import eventually, new_hub, running
from tests.brokers.fleet import Fleet
from tests.faults.proxy import Proxy

QUICK = {"first": 0.01, "max": 0.2}
FRAME, INTERNAL, SILENCE = b"poison-frame", b"poison-internal", b"poison-silence"


@dataclass(frozen=True)
class Sort:
    """One sort of poison: what `put` gets beside the routing key, and what the reason must say."""

    put: Callable[[], dict[str, Any]]
    says: str


def _headers(**headers: Any) -> Callable[[], dict[str, Any]]:
    return lambda: {"headers": headers}


SORTS = {
    # refused at put
    "not a number": Sort(_headers(price=math.nan), "'price' is nan"),
    "infinity": Sort(_headers(price=-math.inf), "'price' is -inf"),
    "headers beyond a frame": Sort(_headers(trace="x" * 140_000), "at most 113664"),
    "many headers": Sort(lambda: {"headers": {f"h{n}": "x" * 100 for n in range(1500)}}, "at most 113664"),
    "CC": Sort(_headers(CC="elsewhere"), "'CC' is reserved"),
    "BCC": Sort(_headers(BCC=["elsewhere"]), "'BCC' is reserved"),
    "int beyond 64 bits": Sort(_headers(n=2**63), "beyond 64 bits"),
    "a table": Sort(_headers(n={"a": 1}), "is a dict"),
    "a header's name too long": Sort(lambda: {"headers": {"x" * 129: 1}}, "1 to 128 bytes"),
    "a lone surrogate": Sort(_headers(n="\ud800"), "surrogate"),
    "a service of two lines": Sort(lambda: {"headers": {"evbus-service": "a\nb"}}, "names a service"),
    "routing key too long": Sort(lambda: {"routing_key": "x" * 256}, "longer than 255 bytes"),
    "a body without a form": Sort(lambda: {"body": object()}, "cannot be serialized"),
    "a body that is no JSON": Sort(lambda: {"body": math.nan}, "which JSON cannot hold"),
    "a body too large": Sort(lambda: {"body": "x" * 70_000}, "takes at most 65536"),
    # dead-lettered
    "no queue": Sort(lambda: {"routing_key": f"nobody-{uuid.uuid4().hex}"}, "no queue is bound"),
    "a frame that is refused": Sort(lambda: {"body": FRAME.decode()}, "FRAME_ERROR - poison"),
    "an internal error": Sort(lambda: {"body": INTERNAL.decode()}, "INTERNAL_ERROR - badarg"),
    "silence": Sort(lambda: {"body": SILENCE.decode()}, "took another event in between"),
}


def closing(code: int, text: str) -> bytes:
    """A frame by which a broker closes the connection."""
    words = text.encode()
    payload = struct.pack(">HHHB", 10, 50, code, len(words)) + words + struct.pack(">HH", 60, 40)
    return struct.pack(">BHI", 1, 0, len(payload)) + payload + b"\xce"


@dataclass
class Outcome:
    """What a run found."""

    good: int = 0
    bad: int = 0
    seconds: float = 0.0
    refused: Counter[str] = field(default_factory=Counter)
    dead: Counter[str] = field(default_factory=Counter)
    arrived: list[int] = field(default_factory=list)
    connections: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def copies(self) -> int:
        """Events that arrived again."""
        return len(self.arrived) - len(set(self.arrived))

    @property
    def violations(self) -> list[str]:
        """What was wrong, in words."""
        found = self.wrong[:10]
        missing = self.good - len(set(self.arrived))
        found += [f"{missing} good events are missing"] if missing else []
        if self.bad != self.refused.total() + self.dead.total():
            found.append(f"{self.bad} bad events, but {self.refused.total()} refused and {self.dead.total()} dead")
        first = list(dict.fromkeys(self.arrived))
        if first != sorted(first):
            found.append("good events arrived out of order")
        most = max(Counter(self.arrived).values(), default=0)
        return [*found, f"an event arrived {most} times"] if most > 3 else found


async def poison(port: int, good: int, bad: int, seed: int) -> Outcome:
    """Put events to the RabbitMQ at this port, and read what arrives."""
    outcome, chance, name = Outcome(good, bad), random.Random(seed), f"poison-{uuid.uuid4().hex[:8]}"
    sorts = [list(SORTS)[number % len(SORTS)] for number in range(bad)]
    places = sorted(chance.randrange(good) for _ in range(bad))
    chance.shuffle(sorts)
    begun = time.monotonic()
    with Proxy(port) as proxy:
        proxy.reject(
            {
                FRAME: closing(501, "FRAME_ERROR - poison"),
                INTERNAL: closing(541, "INTERNAL_ERROR - badarg"),
                SILENCE: b"",
            }
        )
        async with await aio_pika.connect(f"amqp://guest:guest@127.0.0.1:{port}/") as connection:
            channel = await connection.channel()
            queue = await channel.declare_queue(name, durable=True)

            async def arrived(message: Any) -> None:
                outcome.arrived.append(int(message.body))

            await queue.consume(arrived, no_ack=True)
            await _put_all(outcome, proxy.port, name, dict(enumerate_by(places, sorts)))
            await eventually(lambda: len(set(outcome.arrived)) >= good, 60.0)
            await queue.delete(if_unused=False, if_empty=False)
        outcome.connections = proxy.attempts
    outcome.seconds = time.monotonic() - begun
    return outcome


def enumerate_by(places: list[int], sorts: list[str]) -> dict[int, list[str]]:
    """Return the sorts of the bad events that are put before each good one."""
    found: dict[int, list[str]] = {}
    for place, sort in zip(places, sorts, strict=True):
        found.setdefault(place, []).append(sort)
    return found


async def _put_all(outcome: Outcome, port: int, name: str, bad: dict[int, list[str]]) -> None:
    hub = new_hub()
    sort_of: dict[str, str] = {}  # by the id of a bad event

    def failed(data: dict[str, Any]) -> None:
        sort = sort_of.get(data["context"]["id"])
        if not data["context"]["final"]:
            return
        if sort is None:
            outcome.wrong.append(f"a good event was given up: {data['exception']}")
        else:
            outcome.dead[sort] += 1
            if SORTS[sort].says not in str(data["exception"]):
                outcome.wrong.append(f"{sort}: {str(data['exception'])[:200]}")

    hub.OPT = {"evbus_like": {"error_callback_ref": "failed"}}
    hub.failed = failed
    url = f"amqp://guest:guest@127.0.0.1:{port}/"
    profile = {"connection": {"url": url}, "retry": QUICK, "max_event_bytes": 65536}
    put = hub.evbus.broker.put
    async with running({"amqp": {"default": profile}}, hub, timeout=120.0):
        put = hub.evbus.broker.put
        for number in range(outcome.good):
            for sort in bad.get(number, ()):
                try:
                    receipt = await put(**{"routing_key": name, "body": "bad", **SORTS[sort].put()})
                    sort_of[receipt.id] = sort
                except PutError as error:
                    outcome.refused[sort] += 1
                    if SORTS[sort].says not in str(error):
                        outcome.wrong.append(f"{sort}: {str(error)[:200]}")
            await put(name, number)
        waits = hub.evbus.init.status
        await eventually(lambda: not waits()["destinations"]["amqp:default"]["waiting"], 600.0)


def main() -> int:
    """Run on a broker of its own, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--good", type=int, default=100_000, help="good events")
    parser.add_argument("--bad", type=int, default=1000, help="poison events")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    given = parser.parse_args()
    for name in ("evbus_like", "aiormq", "aio_pika"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with Fleet(["rabbitmq"]) as fleet:
        rabbitmq: Any = fleet.get("rabbitmq")
        outcome = asyncio.run(poison(rabbitmq.port, given.good, given.bad, given.seed))
    print(
        f"{outcome.good} good events and {outcome.bad} bad ones of {len(SORTS)} sorts in {outcome.seconds:.0f} s (seed"
        f" {given.seed}): {len(set(outcome.arrived))} arrived, {outcome.copies} of them again,"
        f" {outcome.refused.total()} refused at put, {outcome.dead.total()} dead-lettered,"
        f" {outcome.connections} connections"
    )
    for sort in SORTS:
        print(f"  {sort}: {outcome.refused[sort]} refused, {outcome.dead[sort]} dead-lettered")
    print("\n".join(outcome.violations) or "nothing was wrong")
    return 1 if outcome.violations else 0


if __name__ == "__main__":
    sys.exit(main())

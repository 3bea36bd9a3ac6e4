"""Fuzzed records into handlers over Kafka: none may stop a worker, and good records beside them are handled.

    python -m tests.faults.kafka_fuzz                     # 500,000 records
    python -m tests.faults.kafka_fuzz --count 5000 --seed 7

Keys, values, headers, timestamps, content types and encodings are random, some batches are damaged behind the broker's
checks. The exit code is 0 if every record was handled or dead-lettered, and memory stayed flat.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import logging
import random
import sys
import time
import uuid
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiokafka
from aiokafka import errors as kafka_errors

from evbus_like.handlers import REJECT, RETRY
from tests.brokers.fleet import Fleet
from tests.integration.records import total_committed
from tests.integration.sources import handler, receiving
from tests.integration.support import create_topic, lags
from tests.unit.records import sealed

PARTITIONS = 4
IN_A_BATCH = 100
GOOD = 10  # one record of so many is a good one
GROWTH = 96 * 1024 * 1024  # bytes that memory may grow after the first fifth
BIG = 900_000  # bytes of a value now and then

NAMES = [
    *("evbus-id", "evbus-routing-key", "content-type", "content-encoding", "evbus-service", "evbus-dead-attempts"),
    *("evbus-dead-cut", "evbus-dead-reason", "x-delivery-count", "x-death", "correlation-id", "causation-id"),
    *("traceparent", "tracestate", "nameko.call_id_stack", "nameko.language", "", "h", "ž" * 50),
]
TYPES = [
    *("application/json", "application/msgpack", "application/yaml", "text/plain", "text/plain; charset=utf-16"),
    *("application/vnd.shop+json", "application/octet-stream", "JSON", "/", ";", "application/json; charset=\x00"),
]
ENCODINGS = ["gzip", "deflate", "br", "zstd", "identity", "gzip, gzip", "\x00", "none"]
TEXTS = [b"9223372036854775807", b"-1", b"1e999", b"NaN", b"null", b"", b"\xff\xfe", b"x" * 5000, b"0" * 400]
VALUES = [
    *(b"{", b"null", b"[" * 3000, b'{"a": 1e400}', b"123456789012345678901234567890", b"\xc1", b"\xdd\xff\xff\xff\xff"),
    *(b"1:59:59:59", b"a: &a [*a]", b"\x93" * 2000, b"\xef\xbb\xbf{}", b"\x00" * 64, b"\x1f\x8b\x08"),
]


class Fuzzer:
    """Makes records, each a mapping of what a batch takes."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.good: set[int] = set()

    def batch(self, first: int) -> list[dict[str, Any]]:
        """Make the records of a batch, numbered from `first`."""
        return [self._good(n) if n % GOOD == 0 else self._bad() for n in range(first, first + IN_A_BATCH)]

    def _good(self, number: int) -> dict[str, Any]:
        self.good.add(number)
        headers = [("content-type", b"application/json"), ("evbus-routing-key", b"good")]
        return {
            "key": b"good %d" % (number % 7),
            "value": b'{"good": %d}' % number,
            "headers": headers,
            "timestamp": now(),
        }

    def _bad(self) -> dict[str, Any]:
        chance = self.chance
        return {
            "key": chance.choice([None, b"", b"k", self._bytes(20), b"good", b"\xff" * 300]),
            "value": self._value(),
            "headers": [(chance.choice(NAMES), self._header()) for _ in range(chance.choice([0, 1, 3, 8, 60]))],
            "timestamp": now() - chance.randrange(10**9),
        }

    def _value(self) -> bytes | None:
        chance = self.chance
        if chance.random() < 0.0005:
            return b"{" * BIG
        value = chance.choice([None, *VALUES, self._bytes(200), json.dumps({"a": [chance.random()] * 5}).encode()])
        if value and chance.random() < 0.2:
            return gzip.compress(value) if chance.random() < 0.5 else zlib.compress(value)
        return value

    def _header(self) -> bytes | None:
        chance = self.chance
        texts = [each.encode() for each in (chance.choice(TYPES), chance.choice(ENCODINGS))]
        return chance.choice([None, *texts, chance.choice(TEXTS), self._bytes(30)])

    def _bytes(self, most: int) -> bytes:
        return self.chance.randbytes(self.chance.randrange(most))

    def damage(self, raw: bytes) -> bytes:
        """Change a batch: a name that is not UTF-8, or a few bytes of its records."""
        changed = bytearray(raw)
        if self.chance.random() < 0.7:
            return sealed(bytes(changed).replace(b"\x02h", b"\x02\xff"))
        for _ in range(self.chance.randrange(1, 4)):
            changed[self.chance.randrange(61, len(changed))] = self.chance.randrange(256)
        return sealed(bytes(changed))


def now() -> int:
    """Give the time as Kafka writes it."""
    return int(time.time() * 1000)


@dataclass
class Outcome:
    """What a run found."""

    sent: int = 0
    refused: int = 0
    damaged: int = 0
    seconds: float = 0.0
    handled: int = 0
    dead: int = 0
    memory: list[int] = field(default_factory=list)  # bytes, now and then
    violations: list[str] = field(default_factory=list)


async def produce(bootstrap: str, topic: str, count: int, fuzzer: Fuzzer, outcome: Outcome) -> None:
    """Produce records in batches, of which one in five is damaged; what Kafka does not take is sent undamaged."""
    options = {"max_batch_size": 1 << 24, "max_request_size": 1 << 26}
    async with aiokafka.AIOKafkaProducer(bootstrap_servers=bootstrap, **options) as producer:
        for first in range(0, count, IN_A_BATCH):
            records = fuzzer.batch(first)
            harmed = (first // IN_A_BATCH) % 5 == 4
            partition = fuzzer.chance.randrange(PARTITIONS)
            for change in (fuzzer.damage, None) if harmed else (None,):
                for part in _parts(producer, records):
                    if change is not None:
                        part._buffer = change(bytes(part._build()))
                    try:
                        await (await producer.send_batch(part, topic, partition=partition))
                    except kafka_errors.KafkaError:
                        outcome.refused += part.record_count()
                        continue
                    outcome.sent += part.record_count()
                    outcome.damaged += part.record_count() if change is not None else 0
            if first % (count // 20 or 1) < IN_A_BATCH:
                outcome.memory.append(resident())


def _parts(producer: Any, records: list[dict[str, Any]]) -> Iterator[Any]:
    """Make batches that are small enough for Kafka."""
    batch, size = producer.create_batch(), 0
    for record in records:
        more = len(record["value"] or b"") + sum(len(value or b"") + 60 for _, value in record["headers"]) + 400
        if size and size + more > 1_000_000:
            yield batch
            batch, size = producer.create_batch(), 0
        assert batch.append(**record) is not None
        size += more
    yield batch


def resident() -> int:
    """Give the memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def fuzz(bootstrap: str, count: int, seed: int, deadline: float) -> Outcome:
    """Put `count` fuzzed records to two handlers on this Kafka, and wait until they are settled."""
    fuzzer, outcome, name = Fuzzer(seed), Outcome(), f"fuzz-{uuid.uuid4().hex[:8]}"
    topic, seen = f"{name}.events", [set[int](), set[int]()]
    await create_topic(bootstrap, topic, PARTITIONS)
    profiles = {"kafka": {"default": {"connection": {"bootstrap_servers": bootstrap}}}}
    begun = time.monotonic()
    handlers = [_handler(name, place, seen[place], policy) for place, policy in enumerate((REJECT, RETRY))]
    async with receiving(profiles, *handlers) as group:
        await produce(bootstrap, topic, count, fuzzer, outcome)
        await _settled(group, bootstrap, topic, deadline)
        outcome.memory.append(resident())
        outcome.seconds = time.monotonic() - begun
        for consumer in group.consumers:
            outcome.handled += consumer.stats.handled
            outcome.dead += consumer.stats.dead
            if consumer.stats.state != "open" or not consumer.invoker.options.max_workers:
                outcome.violations.append(f"{consumer.name} is {consumer.stats.state}: {consumer.stats.trouble}")
    ends = await _ends(bootstrap, topic)
    for place, numbers in enumerate(seen):
        if missing := fuzzer.good - numbers:
            outcome.violations.append(f"h{place} did not handle {len(missing)} good records, such as {min(missing)}")
        committed = await total_committed(bootstrap, topic, f"evt-{name}-#--shipping.h{place}")
        if committed != ends:
            outcome.violations.append(f"h{place} has committed {committed} of {ends} records")
    early = max(outcome.memory[: len(outcome.memory) // 5 + 1])
    if outcome.memory[-1] - early > GROWTH:
        outcome.violations.append(f"memory grew from {early >> 20} to {outcome.memory[-1] >> 20} MiB")
    return outcome


def _handler(name: str, place: int, seen: set[int], policy: str) -> Any:
    async def take(event: Any) -> None:
        if isinstance(event.body, dict) and "good" in event.body:
            seen.add(event.body["good"])
        elif isinstance(event.body, bytes) and len(event.body) % 50 == 1:
            raise ValueError(event.headers)

    retry = {"attempts": 2, "backoff": 0.01, "max_backoff": 0.01}
    options = {"on_error": policy, "max_workers": 10, "expected_exceptions": (ValueError,), **retry}
    return handler(take, name, "#", name=f"h{place}", **options)


async def _settled(group: Any, bootstrap: str, topic: str, deadline: float) -> None:
    """Wait until everything is settled, or nothing has happened for a while."""
    ends, done, since = await _ends(bootstrap, topic), -1, time.monotonic()
    while time.monotonic() - since < deadline:
        found = sum(each.stats.handled + each.stats.dead for each in group.consumers)
        if found >= ends * len(group.consumers):
            break
        if found != done:
            done, since = found, time.monotonic()
        await asyncio.sleep(0.2)


async def _ends(bootstrap: str, topic: str) -> int:
    async with aiokafka.AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest") as consumer:
        return sum((await lags(consumer)).values())


def main() -> int:
    """Run on a broker of its own and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=500_000, help="records")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    given = parser.parse_args()
    logging.getLogger("evbus_like").setLevel(logging.CRITICAL)
    with Fleet(["kafka"]) as fleet:
        kafka: Any = fleet.get("kafka")
        outcome = asyncio.run(fuzz(kafka.bootstrap, given.count, given.seed, 60.0))
    mib = [each >> 20 for each in outcome.memory]
    print(
        f"{outcome.sent} records, {outcome.damaged} of them in damaged batches, {outcome.refused} refused by Kafka, in"
        f" {outcome.seconds:.0f} s (seed {given.seed}): {outcome.handled} handled,"
        f" {outcome.dead} given up by two handlers; memory {mib[0]} to {mib[-1]} MiB, {max(mib)} at most"
    )
    print("\n".join(outcome.violations[:20]) or "nothing was wrong")
    return 1 if outcome.violations else 0


if __name__ == "__main__":
    sys.exit(main())

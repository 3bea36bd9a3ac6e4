"""Two processes that store events in their transactions, and relay them to RabbitMQ, are killed again and again.

    python -m tests.faults.postgres_kills                     # 50 kills
    python -m tests.faults.postgres_kills --kills 10 --seed 7

Beside the kills, PostgreSQL and RabbitMQ are restarted, and PostgreSQL is killed. The exit code is 0 if the event of
every committed transaction was received, of no other one, and the account of the table is right.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass

import aio_pika

from evbus_like.postgres import ddl
from tests.brokers.fleet import Fleet
from tests.brokers.postgres import PostgreSQL
from tests.brokers.rabbitmq import RabbitMQ

TABLES = """
create table work (id bigserial primary key, key text, event_id text);
create table undone (event_id text);
create table cancelled (event_id text);
"""
DRAIN = 120.0  # seconds that the events have at the end


@dataclass
class Outcome:
    """What came of a run."""

    kills: int
    committed: int
    rolled_back: int
    received: int
    repeats: int
    missing: int
    strange: int
    account: str

    @property
    def good(self) -> bool:
        """Whether every committed event was received, and no other."""
        return not self.missing and not self.strange and self.account == f"0|{self.committed}"


class Application:
    """One process; what it holds in memory is gone with it."""

    def __init__(self, *arguments: str) -> None:
        self._command = [sys.executable, "-m", "tests.faults.postgres_app", *arguments]
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it, and return when it runs."""
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(self._command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
        assert self._process.stdout
        self._process.stdout.readline()

    def kill(self) -> None:
        """SIGKILL it."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()

    def end(self) -> None:
        """Let it end as an application does."""
        if self._process is not None:
            self._process.communicate(timeout=60)


async def run(postgres: PostgreSQL, rabbitmq: RabbitMQ, kills: int, seed: int, disturb: bool = True) -> Outcome:
    """Run the whole of it."""
    draw, queue, shop = random.Random(seed), f"kills-{uuid.uuid4().hex[:8]}", postgres.database()
    postgres.sql(ddl.statements() + TABLES, shop)
    async with await aio_pika.connect(rabbitmq.url) as connection:
        await (await connection.channel()).declare_queue(queue, durable=True)
    both = [Application(postgres.url(shop), rabbitmq.url, queue, "4") for _ in range(2)]
    try:
        await asyncio.gather(*(asyncio.to_thread(each.start) for each in both))
        for number in range(kills):
            await asyncio.sleep(draw.uniform(0.1, 1.2))
            if disturb and number % 5 == 2:
                trouble = draw.choice([postgres.restart, postgres.kill, rabbitmq.restart])
                await asyncio.to_thread(trouble)
                if trouble == postgres.kill:
                    await asyncio.to_thread(postgres.start)
            one = draw.choice(both)
            await asyncio.to_thread(one.kill)
            await asyncio.to_thread(one.start)
        await asyncio.sleep(1)
        for each in both:
            await asyncio.to_thread(each.kill)
        relay = Application(postgres.url(shop), rabbitmq.url, queue, "0")
        await asyncio.to_thread(relay.start)
        await _empty(postgres, shop)
        await asyncio.to_thread(relay.end)
    finally:
        for each in both:
            each.kill()
    received = await _received(rabbitmq, queue)
    committed = set(postgres.sql("select event_id from work except select event_id from cancelled", shop).split())
    undone = set(postgres.sql("select event_id from undone", shop).split())
    account = postgres.sql("select (select count(*) from evbus_outbox), sum(delivered) from evbus_part", shop).strip()
    return Outcome(
        kills,
        len(committed),
        len(undone),
        len(received),
        len(received) - len(set(received)),
        len(committed - set(received)),
        len(set(received) - committed),
        account,
    )


async def _empty(postgres: PostgreSQL, shop: str) -> None:
    deadline = time.monotonic() + DRAIN
    waiting = "select (select count(*) from evbus_outbox) + (select count(*) from evbus_scheduled)"
    while postgres.sql(waiting, shop) != "0\n" and time.monotonic() < deadline:  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0.2)


async def _received(rabbitmq: RabbitMQ, queue: str) -> list[str]:
    ids = []
    async with await aio_pika.connect(rabbitmq.url) as connection:
        channel = await connection.channel()
        source = await channel.get_queue(queue)
        while (message := await source.get(fail=False, no_ack=True)) is not None:
            ids.append(str(message.message_id))
        await channel.queue_delete(queue)
    return ids


def main() -> int:
    """Run it on brokers of its own, and give the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.postgres_kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    asked = parser.parse_args()
    with Fleet(["postgres", "rabbitmq"]) as fleet:
        postgres, rabbitmq = fleet.get("postgres"), fleet.get("rabbitmq")
        assert isinstance(postgres, PostgreSQL)
        assert isinstance(rabbitmq, RabbitMQ)
        outcome = asyncio.run(run(postgres, rabbitmq, asked.kills, asked.seed))
    print(f"seed {asked.seed}: {outcome}")
    print("good" if outcome.good else "WRONG")
    return int(not outcome.good)


if __name__ == "__main__":
    sys.exit(main())

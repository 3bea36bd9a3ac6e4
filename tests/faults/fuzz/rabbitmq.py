"""Fuzz a worker over RabbitMQ: is it alive at the end, are its queues empty, did calls beside it get their answers?"""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aio_pika

from evbus_like.testing import running
from tests.faults.fuzz.amqp import AmqpMaterial, write
from tests.faults.fuzz.worker import Worker

QUEUES = ("evt-fuzz-any--fuzz.take", "evt-fuzz-put--fuzz.put_on", "rpc-fuzzed")
PLACES = (("fuzz.events", "any"), ("fuzz.events", "put"), ("", QUEUES[0]), ("", QUEUES[1]))
METHODS = ("fuzzed.hello", "fuzzed.hello", "fuzzed.other", "fuzzed.nothing", "fuzzed.", "fuzzed.\xff")
BATCH = 200
MOST_WAITING = 4000  # messages in a queue; then the fuzzer waits
MARGIN = 60.0  # MB that the memory may differ between the first quarter and the end


@dataclass
class Outcome:
    """What a fuzz found; `memory` is in MB, at each tenth of the way."""

    messages: int = 0
    requests: int = 0
    dead: int = 0
    answers: int = 0
    seconds: float = 0.0
    calls: int = 0
    unanswered: list[str] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    alive: bool = False
    exit_code: int = -1
    left: dict[str, int] = field(default_factory=dict)

    @property
    def violations(self) -> list[str]:
        """What was wrong, in words."""
        found = [] if self.alive else ["the worker died"]
        found += [] if self.exit_code == 0 else [f"the worker's exit code is {self.exit_code}"]
        found += [f"{count} messages are left in {name}" for name, count in self.left.items() if count]
        found += [f"{len(self.unanswered)} calls failed: {self.unanswered[:3]}"] if self.unanswered else []
        settled = self.memory[len(self.memory) // 4 :]
        if settled and max(settled) > settled[0] + MARGIN:
            found.append(f"the memory grew: {[round(each) for each in self.memory]} MB")
        return found

    def __str__(self) -> str:
        return (
            f"{self.messages} messages and {self.requests} requests in {self.seconds:.0f} s: {self.dead} dead letters,"
            f" {self.answers} answers; {self.calls} calls beside them, {len(self.unanswered)} failed; memory"
            f" {', '.join(f'{each:.0f}' for each in self.memory)} MB"
        )


async def fuzz(url: str, messages: int, requests: int, seed: int, folder: Path) -> Outcome:
    """Send so many of each to a worker of its own, and wait until all are gone."""
    outcome, material = Outcome(messages, requests), AmqpMaterial(seed)
    rabbit: dict[str, Any] = {"amqp": {"default": {"connection": {"url": url}}}}
    begun, replies = time.monotonic(), f"fuzz-{uuid.uuid4().hex[:8]}"
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel(publisher_confirms=False)
        draining = asyncio.create_task(_drain(channel, replies, outcome))
        with Worker(folder, {**rabbit, "internal": {"memory": {"routing_key": "x"}}}) as worker:
            await _serving(connection, worker)
            async with running(rabbit) as hub:
                calling = asyncio.create_task(_call(hub, outcome))
                await _send(connection, material, outcome, replies, worker)
                await _until_empty(connection, worker)
                for task in (calling, draining):
                    task.cancel()
                await asyncio.gather(calling, draining, return_exceptions=True)
            outcome.alive = worker.alive
            outcome.memory.append(worker.memory if worker.alive else 0.0)
            outcome.exit_code = await asyncio.to_thread(worker.stop)
        for name in QUEUES:
            outcome.left[name] = await _waiting(connection, name)
    outcome.seconds = time.monotonic() - begun
    return outcome


async def _drain(channel: Any, replies: str, outcome: Outcome) -> None:
    """Count and drop the answers and the dead letters; they are not read, for aio-pika could not decode them."""
    exchange = await channel.declare_exchange("nameko-rpc", "topic", durable=True)
    answers = await channel.declare_queue(replies, exclusive=True)
    await answers.bind(exchange, replies)
    letters = [await channel.declare_queue(f"{name}.dead", durable=True) for name in QUEUES]
    for each in letters:
        await each.purge()
    while True:
        outcome.answers += (await answers.purge()).message_count
        for each in letters:
            outcome.dead += (await each.purge()).message_count
        await asyncio.sleep(0.5)


async def _serving(connection: Any, worker: Worker) -> None:
    """Wait until the worker reads its queues."""
    for name in QUEUES:
        async with asyncio.timeout(60.0):
            while await _consumers(connection, name) == 0:
                assert worker.alive, worker.log.read_text()[-2000:]
                await asyncio.sleep(0.1)


async def _send(connection: Any, material: AmqpMaterial, outcome: Outcome, replies: str, worker: Worker) -> None:
    """Send messages and requests mixed, as fast as the worker takes them."""
    chance, total = material.random, outcome.messages + outcome.requests
    plain = await (await connection.channel(publisher_confirms=False)).get_underlay_channel()
    left = {"message": outcome.messages, "request": outcome.requests}
    for number in range(0, total, BATCH):
        frames = []
        for _ in range(min(BATCH, total - number)):
            kind = "message" if chance.random() * sum(left.values()) < left["message"] else "request"
            left[kind] -= 1
            place = chance.choice(PLACES) if kind == "message" else ("nameko-rpc", chance.choice(METHODS))
            frames.append(material.frames(plain.number, *place, replies))
        for each in frames:
            await write(plain, each)
        assert not plain.is_closed, "RabbitMQ refused a message of the fuzzer"
        while worker.alive and max([await _waiting(connection, name) for name in QUEUES]) > MOST_WAITING:  # noqa: ASYNC110 - a broker cannot wake us
            await asyncio.sleep(0.05)
        if number % max(BATCH, total // 10 // BATCH * BATCH) == 0 and worker.alive:
            outcome.memory.append(worker.memory)


async def _call(hub: Any, outcome: Outcome) -> None:
    """Call the service, as an ordinary caller does meanwhile."""
    while True:
        outcome.calls += 1
        try:
            answer = await hub.rpc.fuzzed.hello(outcome.calls, timeout=30)
            if answer != {"args": [outcome.calls], "kwargs": {}}:
                outcome.unanswered.append(str(answer)[:100])
        except Exception as error:
            outcome.unanswered.append(f"{type(error).__name__}: {error}")
        await asyncio.sleep(0.2)


async def _until_empty(connection: Any, worker: Worker) -> None:
    """Wait until nothing waits in any queue, nor for a retry."""
    quiet = 0
    async with asyncio.timeout(120.0):
        while quiet < 10 and worker.alive:
            waiting = sum([await _waiting(connection, name) for name in QUEUES])
            quiet = 0 if waiting else quiet + 1
            await asyncio.sleep(0.1)
    await asyncio.sleep(1.0)  # retries


async def _declared(connection: Any, name: str) -> Any:
    channel = await connection.channel()
    try:
        return (await channel.declare_queue(name, passive=True)).declaration_result
    except aio_pika.exceptions.ChannelNotFoundEntity:
        return None
    finally:
        if not channel.is_closed:
            await channel.close()


async def _waiting(connection: Any, name: str) -> int:
    found = await _declared(connection, name)
    return found.message_count or 0 if found is not None else 0


async def _consumers(connection: Any, name: str) -> int:
    found = await _declared(connection, name)
    return found.consumer_count or 0 if found is not None else 0

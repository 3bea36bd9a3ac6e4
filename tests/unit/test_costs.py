"""What an event costs, in counted operations: what makes the road slow is found here, on any machine, by no clock."""

import asyncio
import gzip
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evbus_like.amqp.encoder import Encoder
from evbus_like.amqp.publisher import Batches
from evbus_like.amqp.settings import PublishOptions
from evbus_like.engine import values
from evbus_like.engine.event import Event
from evbus_like.engine.sending.serializer import Serializer
from evbus_like.kafka.batches import PartitionBatches, in_rounds
from evbus_like.serialize import json_serialize
from tests.unit.amqp import confirm_channel
from tests.unit.fakes import Destination, dump_json, entry, running, until

WEBHOOKS = Path(json_serialize.__file__).parents[1] / "data" / "github-webhooks.ndjson.gz"
EVENTS = 1000


COUNTED = {"create_task": "tasks", "call_at": "timers", "create_future": "futures", "call_soon_threadsafe": "wake-ups"}


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Count what is asked of the loop within the block."""
    loop = asyncio.get_running_loop()
    counts: Counter[str] = Counter()

    def counting(method: Callable[..., Any], what: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            counts[what] += 1
            return method(*args, **kwargs)

        return call

    for name, what in COUNTED.items():
        setattr(loop, name, counting(getattr(loop, name), what))
    try:
        yield counts
    finally:
        for name in COUNTED:
            delattr(loop, name)


async def turns(condition: Callable[[], bool]) -> None:
    """Let the loop turn until a condition holds, without a timer."""
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("a thousand turns of the loop were not enough")


async def test_a_burst_of_put_nowait_costs_no_task_and_no_timer_an_event() -> None:
    destination = Destination()
    async with running(entry(destination)) as bus:
        await until(lambda: destination.is_open)
        with counted() as counts:
            for n in range(EVENTS):
                bus.putter.put_nowait("k", n)
            await turns(lambda: len(destination.received) == EVENTS)
    assert counts["tasks"] == 0
    assert counts["timers"] <= 2, "one deadline a batch"
    assert counts["futures"] <= 5
    assert counts["wake-ups"] == 0
    assert destination.calls["publish"] == 1


async def test_a_thousand_awaited_puts_cost_no_task_no_timer_and_no_future_each() -> None:
    destination = Destination()
    async with running(entry(destination)) as bus:
        await until(lambda: destination.is_open)
        with counted() as counts:
            for n in range(EVENTS):
                await bus.putter.put("k", n)
            await turns(lambda: len(destination.received) == EVENTS)
    batches = destination.calls["publish"]
    assert batches <= EVENTS / 50, "a task that only puts lets the lanes work after every hundred"
    assert counts["tasks"] == 0
    assert counts["timers"] <= 2 * batches
    assert counts["futures"] <= 3 * batches


async def test_a_hundred_tasks_that_put_are_batched_too() -> None:
    destination = Destination()

    async def put(bus: Any) -> None:
        for n in range(EVENTS // 100):
            await bus.putter.put("k", n)

    async with running(entry(destination)) as bus:
        await until(lambda: destination.is_open)
        await asyncio.gather(*(put(bus) for _ in range(100)))
        await until(lambda: len(destination.received) == EVENTS)
    assert destination.calls["publish"] <= EVENTS / 50


async def test_an_event_is_serialized_once_however_many_lanes_it_goes_to() -> None:
    dumped: list[Any] = []

    def dump(body: Any) -> bytes:
        dumped.append(body)
        return dump_json(body)

    one, other = Serializer("json", "application/json", dump), Serializer("other", "text/other", dump)
    destinations = [Destination() for _ in range(5)]
    entries = [
        entry(each, f"fake:{number}", serializer=one if number < 3 else other)
        for number, each in enumerate(destinations)
    ]
    async with running(*entries) as bus:
        for n in range(10):
            bus.putter.put_nowait("k", n)
            await bus.putter.put("k", n)
        await until(lambda: all(len(each.received) == 20 for each in destinations))
    assert len(dumped) == 20 * 2, "once for each distinct serializer"


async def test_a_thousand_patterns_are_tried_once_for_a_name_and_not_once_for_an_event() -> None:
    tried: list[str] = []

    def matches(profile: str) -> bool:
        tried.append(profile)
        return False

    entries = [entry(name=f"fake:{number}", matches=matches) for number in range(1000)]
    async with running(*entries) as bus:
        for _ in range(EVENTS):
            bus.putter.put_nowait("k", 1, "name")
        await until(lambda: not bus.bus.intake.items)
    assert len(tried) == 1000


async def test_an_immediate_destination_needs_no_task_and_is_called_once_a_turn() -> None:
    destination, calls = Destination(), []

    def publish_now(events: Any) -> int:
        calls.append(len(events))
        return len(events)

    destination.publish_now = publish_now  # type: ignore[assignment]
    async with running(entry(destination)) as bus:
        with counted() as counts:
            for n in range(EVENTS):
                bus.putter.put_nowait("k", n)
            await turns(lambda: sum(calls) == EVENTS)
            await bus.putter.put("k", 1)
            await bus.putter.put("k", 2)
            await asyncio.sleep(0)
        assert calls == [EVENTS, 2]
        assert counts["tasks"] == counts["timers"] == 0


@pytest.mark.parametrize("size", [40, 10_000])
async def test_a_batch_to_rabbitmq_is_one_write_and_needs_no_task_and_no_timer(size: int) -> None:
    channel, written = confirm_channel()
    batches = Batches(channel, Encoder(1, 131_000, PublishOptions(app_id="app")), None)
    events = [Event("k", b"x" * size, "p") for _ in range(EVENTS)]
    sending = asyncio.create_task(batches.send(events))
    with counted() as counts:
        await asyncio.sleep(0)
        channel.confirms.method(b"\x00\x3c\x00\x50" + EVENTS.to_bytes(8, "big") + b"\x01")
        assert await sending == [None] * EVENTS
    assert len(written) == 1
    assert len(written[0]) > EVENTS * size
    assert counts["tasks"] == counts["timers"] == 0


async def test_a_batch_to_kafka_is_one_record_batch_a_partition() -> None:
    from aiokafka.producer.message_accumulator import BatchBuilder

    producer = SimpleNamespace(create_batch=lambda: BatchBuilder(256 * 1024, 0, is_transactional=False))
    stacks = [PartitionBatches(producer, "topic", number) for number in range(2)]
    for position in range(EVENTS):
        stacks[position % 2].add(position, 1, b"key", b"x" * 40, [("evbus-id", b"x" * 24)])
    assert [len(each.positions) for each in in_rounds(stacks)] == [EVENTS // 2] * 2


def test_a_null_in_a_body_of_builtins_is_no_reason_to_walk_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def walk(*args: Any) -> bool:
        raise AssertionError("the body was walked in Python")

    bodies = [json.loads(line)["body"] for line in gzip.decompress(WEBHOOKS.read_bytes()).splitlines()]
    assert sum(b"null" in json_serialize.dump(None, body) for body in bodies) > 300
    monkeypatch.setattr(values, "simple", walk)
    monkeypatch.setattr(values, "plain", walk)
    for body in bodies:
        json_serialize.dump(None, body)

"""What one event costs, part by part: `python -m benchmarks.parts` prints a table, in nanoseconds.

Each part is called by itself, over and over, so the sum is a little more than the whole: processors learn.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Callable
from timeit import repeat
from typing import Any

import aiokafka.producer.message_accumulator as accumulator
import pop.hub

from benchmarks.runner import WEBHOOKS
from evbus_like.amqp.encoder import Encoder
from evbus_like.amqp.settings import PublishOptions
from evbus_like.engine import event as events
from evbus_like.engine.event import Event
from evbus_like.engine.queue import Queue
from evbus_like.memory.queues import Mailbox
from evbus_like.serialize import json_serialize, msgpack_serialize, yaml_serialize

CALLS = 20_000
SMALL = {"message": "event content", "n": 12345}


def nanoseconds(call: Callable[[], Any], calls: int = CALLS) -> float:
    """Time one call: the best of five runs, for whatever else the machine does only adds."""
    return min(repeat(call, number=calls, repeat=5)) / calls * 1e9


async def main() -> None:
    """Print the table."""
    hub = pop.hub.Hub()
    hub.pop.sub.add(dyne_name="evbus")
    listener = asyncio.create_task(hub.evbus.init.start({"internal": {"default": {"routing_key": "all"}}}))
    await hub.evbus.init.join()
    bus, lane = hub.evbus.RUNTIME.bus, hub.evbus.RUNTIME.bus.lanes[0]
    mailbox = await hub.ingress.internal.get("all")
    route = bus.admission.route("default")
    webhook = json.loads(gzip.decompress(WEBHOOKS.read_bytes()).splitlines()[0])["body"]
    event = Event("bench", json_serialize.dump(None, SMALL), "default")
    event.content_type = "application/json"
    ten = [event] * 10

    put, intake = hub.evbus.broker.put_nowait, bus.intake

    def put_nowait() -> None:
        put("bench", SMALL)
        intake.items.clear()

    def into_the_lane() -> None:
        lane.extend(ten, 400)
        lane.queue.clear()

    def out_of_the_lane() -> None:
        lane.queue.extend(ten)
        lane.deliver(10)

    rows = [
        ("put_nowait, bound once", nanoseconds(put_nowait)),
        (
            "  of it: the event and its id",
            nanoseconds(
                lambda: Event.make(events.prefix, events.next_number(), "bench", SMALL, "default", None, None, False)
            ),
        ),
        ("  of it: the intake queue", nanoseconds(queue_of(event))),
        ("looking up hub.evbus.broker.put_nowait", nanoseconds(lambda: hub.evbus.broker.put_nowait)),
        ("route, from the cache", nanoseconds(lambda: bus.admission.router.cache.get("default"))),
        ("serialize: json, small", nanoseconds(lambda: route.sole.pack(SMALL, route.lanes))),
        ("serialize: msgpack, small", nanoseconds(lambda: msgpack_serialize.dump(None, SMALL))),
        ("serialize: yaml, small", nanoseconds(lambda: yaml_serialize.dump(None, SMALL), 500)),
        ("serialize: json, a webhook", nanoseconds(lambda: json_serialize.dump(None, webhook), 2000)),
        ("serialize: msgpack, a webhook", nanoseconds(lambda: msgpack_serialize.dump(None, webhook), 2000)),
        ("serialize: yaml, a webhook", nanoseconds(lambda: yaml_serialize.dump(None, webhook), 5)),
        ("into the lane, ten at once", nanoseconds(into_the_lane) / 10),
        ("out of the lane, ten at once", nanoseconds(out_of_the_lane) / 10),
        ("in memory: published, ten at once", nanoseconds(lambda: lane.destination.publish_now(ten)) / 10),
        ("in memory: get_nowait", nanoseconds(mailbox_of(event))),
        ("RabbitMQ: its frames", nanoseconds(encoding(event))),
        ("Kafka: its record", nanoseconds(record(event))),
    ]
    mailbox.items.clear()
    for name, value in rows:
        print(f"{name:<42} {value:>9,.0f} ns")
    lane.queue.clear()
    await hub.evbus.init.stop(1)
    await listener


def queue_of(event: Event) -> Callable[[], Any]:
    """Put into a queue and take out again."""
    queue: Queue[Event] = Queue(100)

    def part() -> None:
        queue.put_nowait(event)
        queue.items.clear()

    return part


def mailbox_of(event: Event) -> Callable[[], Any]:
    """Read from a mailbox."""
    mailbox = Mailbox(100)

    def part() -> None:
        mailbox.items.append(event)
        mailbox.get_nowait()

    return part


def encoding(event: Event) -> Callable[[], Any]:
    """Encode for RabbitMQ."""
    encoder = Encoder(1, 131_064, PublishOptions(app_id="evbus_like"))
    return lambda: encoder.encode(event, "bench", [])


def record(event: Event) -> Callable[[], Any]:
    """Append to a Kafka batch."""
    builder = accumulator.BatchBuilder(1 << 30, 0)
    headers = [("evbus-id", event.id.encode()), ("content-type", b"application/json")]
    return lambda: builder.append(timestamp=1, key=b"bench", value=event.body, headers=headers)


if __name__ == "__main__":
    asyncio.run(main())

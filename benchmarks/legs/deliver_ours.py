"""To brokers, evbus_like: one task puts, and the time ends when the last delivery is confirmed."""

from __future__ import annotations

import asyncio
from typing import Any

from measure import Clock, bodies, config
from ours import delivered, put_all, running

WARM_UP = 100


async def main() -> None:
    """Run the leg; it has a profile for every queue and for every topic that it is given."""
    asked = config()
    count, queues, topics = asked["events"], asked["queues"], asked["topics"]
    profiles = {
        "amqp": [{"default": profile} for profile in _amqp(asked, queues)],
        "kafka": [{"default": profile} for profile in _kafka(asked, topics)],
    }
    wide, warm_up = len(queues) + len(topics), asked.get("warm_up", WARM_UP)
    async with running(profiles, asked) as hub:
        await put_all(hub, bodies(asked, warm_up))
        await delivered(hub, wide * warm_up)
        stream = bodies(asked, count)
        clock = Clock()
        await put_all(hub, stream)
        await delivered(hub, wide * (warm_up + count))
        clock.stop(count, sent=count + warm_up, deliveries=wide * count)


def _amqp(asked: dict[str, Any], queues: list[str]) -> list[dict[str, Any]]:
    more = asked.get("amqp", {})
    return [{"connection": {"url": asked["amqp_url"]}, "routing_key": queue, **more} for queue in queues]


def _kafka(asked: dict[str, Any], topics: list[str]) -> list[dict[str, Any]]:
    more = dict(asked.get("kafka", {}))
    connection = {"bootstrap_servers": asked.get("bootstrap"), **more.pop("connection", {})}
    return [{"connection": connection, "topics": [topic], **more} for topic in topics]


asyncio.run(main())

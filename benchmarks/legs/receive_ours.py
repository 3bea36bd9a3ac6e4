"""From a broker, evbus_like: a handler that gets decoded bodies."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import fill
from measure import Clock, bodies, config
from ours import running

APPS = Path(__file__).parent / "apps"
QUEUE, EXCHANGE = "evt-bench-bench--counter.count", "bench.events"


async def main() -> None:
    """Run the leg."""
    asked = config()
    count = asked["events"]
    sys.path.insert(0, str(APPS))
    profiles: dict[str, Any]
    if asked["topics"]:
        topic = asked["topics"][0]
        os.environ["BENCH_SINCE"] = "earliest"
        await fill.topic(asked["bootstrap"], topic, bodies(asked, count))
        profiles = {"kafka": {"default": {"connection": {"bootstrap_servers": asked["bootstrap"]}, "topics": [topic]}}}
    else:
        await fill.queue(asked["amqp_url"], QUEUE, bodies(asked, count), EXCHANGE)
        profiles = {"amqp": {"default": {"connection": {"url": asked["amqp_url"]}}}}
    async with running(profiles, asked) as hub:
        hub.pop.sub.add(dyne_name="handler")
        counter = hub.handler.counter.expect(count)
        clock = Clock()
        await hub.evbus.handlers.start()
        await counter.done.wait()
        clock.stop(count, sent=count if asked["topics"] else 0, left=counter.seen - count)
    if not asked["topics"] and (left := await fill.remove(asked["amqp_url"], QUEUE, EXCHANGE)):
        raise SystemExit(f"{left} events were not acknowledged")


asyncio.run(main())

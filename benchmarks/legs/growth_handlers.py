"""Many handlers, in memory or on RabbitMQ: each event is for one of them, in turn, or with `all` for all.

The time is that of `events` calls of handlers; `start` is the CPU time until all have subscribed.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from measure import BURST, Clock, bodies, config, memory
from ours import running

from evbus_like.engine.receiving.group import Group
from evbus_like.engine.receiving.handler import Handler, HandlerOptions
from evbus_like.errors import QueueFull
from evbus_like.hub.application import binding

SOURCE = f"growth-{os.getpid()}"  # queues of its own: they stay until the broker of the benchmark goes
SUBSCRIBE = 300.0  # seconds


async def main() -> None:
    """Run the leg."""
    asked = config()
    wide, count, seen = asked["handlers"], asked["events"], [0]

    async def take(_event: Any) -> None:
        seen[0] += 1

    profiles: dict[str, Any] = {"internal": {"default": {}}}
    if asked.get("rabbitmq"):
        profiles = {"amqp": {"default": {"connection": {"url": asked["amqp_url"]}}}}
    types = ["all" if asked.get("all") else f"type{number}" for number in range(wide)]
    async with running(profiles, asked) as hub:
        contexts = await hub.evbus.acct.profiles(acct_data=profiles)
        group, before, starting = Group(), memory("VmRSS"), Clock()
        made = [
            Handler(
                f"bench.take{n}", f"bench{n}", "take", take, True, HandlerOptions(source=SOURCE, event_types=(type_,))
            )
            for n, type_ in enumerate(types)
        ]
        group.start(await binding.consumers(hub, contexts, made, group))
        try:
            await group.subscribed(SUBSCRIBE)
            figures = {"start": starting.used(), "memory": memory("VmRSS") - before}
            clock = Clock()
            await dispatch_all(hub, bodies(asked, count // wide if asked.get("all") else count), types)
            while seen[0] < count:  # noqa: ASYNC110 - a counter tells of nothing
                await asyncio.sleep(0.001)
            clock.stop(count, sent=0, left=seen[0] - count, **figures)
        finally:
            await group.stop(30.0)


async def dispatch_all(hub: Any, stream: Any, types: list[str]) -> None:
    """Dispatch events of the types, one after the other."""
    dispatch, wide = hub.evbus.broker.dispatch_nowait, len(types)
    for number, body in enumerate(stream):
        try:
            dispatch(SOURCE, types[number % wide], body)
        except QueueFull:
            await hub.evbus.broker.dispatch(SOURCE, types[number % wide], body)
        if not number % BURST:
            await asyncio.sleep(0)


asyncio.run(main())

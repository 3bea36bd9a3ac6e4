"""Through a broker, evbus_like: one process puts events and handles them, as they come back.

`durable` puts them through the outbox, from many tasks; `quorum` has the handler's queue on a quorum queue; `handlers`
is the number of handlers, each of which gets every event. The line also has the connections of the process.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from measure import Clock, bodies, config
from ours import outbox, put_all, running

from evbus_like.engine.receiving.group import Group
from evbus_like.engine.receiving.handler import Handler, HandlerOptions
from evbus_like.hub.application import binding

SOURCE = f"bench-{os.getpid()}"  # queues of its own: they stay until the broker of the benchmark goes
WARM_UP = 500
TASKS = 100
PREFETCH = 1000


async def main() -> None:
    """Run the leg."""
    asked = config()
    count, wide, seen = asked["events"], asked.get("handlers", 1), [0]

    async def take(_event: Any) -> None:
        seen[0] += 1

    async with outbox(), running(profiles(asked)) as hub:
        contexts = await hub.evbus.acct.profiles(acct_data=profiles(asked))
        group = Group()
        more: dict[str, Any] = {"since": "earliest"} if asked["topics"] else {}
        options = HandlerOptions(source=SOURCE, event_types=("bench",), prefetch=PREFETCH, **more)
        made = [Handler(f"bench.count{n}", f"bench{n}", "count", take, True, options) for n in range(wide)]
        group.start(await binding.consumers(hub, contexts, made, group))
        await group.subscribed(60.0)
        try:
            put = put_durable if asked.get("durable") else put_all
            await put(hub, bodies(asked, WARM_UP))
            await reached(seen, WARM_UP * wide)
            stream = iter(list(bodies(asked, count)))
            clock = Clock()
            await put(hub, stream)
            await reached(seen, (WARM_UP + count) * wide)
            found = connections(asked)
            clock.stop(count, sent=0, connections=found)
        finally:
            await group.stop(30.0)


def profiles(asked: dict[str, Any]) -> dict[str, Any]:
    """Give the one profile that serves puts and handlers."""
    more = {"outbox": "always"} if asked.get("durable") else {}
    if asked["topics"]:
        connection = {"bootstrap_servers": asked["bootstrap"]}
        return {"kafka": {"default": {"connection": connection, "topics": asked["topics"], **more}}}
    exchange = {"exchange": f"{SOURCE}.events", "quorum": bool(asked.get("quorum"))}
    return {"amqp": {"default": {"connection": {"url": asked["amqp_url"]}, **exchange, **more}}}


async def put_durable(hub: Any, stream: Iterator[Any]) -> None:
    """Let many tasks put, each after the commit of its event before."""

    async def put() -> None:
        for body in stream:
            await hub.evbus.broker.put("bench", body)

    await asyncio.gather(*(put() for _ in range(TASKS)))


async def reached(seen: list[int], count: int) -> None:
    """Wait until so many events are handled."""
    while seen[0] < count:  # noqa: ASYNC110 - a counter tells of nothing
        await asyncio.sleep(0.001)


def connections(asked: dict[str, Any]) -> int:
    """Count the open sockets of this process that lead to the brokers."""
    address = asked["bootstrap"] if asked["topics"] else asked["amqp_url"].rpartition("@")[2].strip("/")
    ports = {int(each.rpartition(":")[2]) for each in address.split(",")}
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    there = {row[9] for row in rows if int(row[2].rpartition(":")[2], 16) in ports and row[3] == "01"}
    own = {os.readlink(each.path) for each in os.scandir("/proc/self/fd") if each.is_symlink() and _exists(each.path)}
    return sum(f"socket:[{inode}]" in own for inode in there)


def _exists(path: str) -> bool:
    try:
        os.readlink(path)
    except OSError:
        return False
    return True


asyncio.run(main())

"""A queue that grows: its events wait for a destination that takes nothing, and are then sent.

They wait in memory or, with `durable`, in the outbox: then the bus is started anew before they are sent. With
`replayed` they are made dead letters in between, as `evbus outbox set-aside` does, and replayed after one more start.

Rates are those of a second of CPU, and starts are in seconds of CPU: these are the same on a busy machine.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from measure import Clock, bodies, config, memory
from ours import outbox, put_all, running

from evbus_like.engine.outbox import pending
from evbus_like.engine.outbox.requests import SET_ASIDE
from evbus_like.engine.sending import replay

TASKS = 100
PLENTY = 2**40  # bytes
WAIT = 3600.0  # seconds


async def main() -> None:
    """Run the leg."""
    asked = config()
    sys.path.insert(0, str(Path(__file__).parent / "plugins"))
    count = asked["events"]
    kept = {"outbox": "always"} if asked.get("durable") else {"max_events": count + 1, "max_bytes": PLENTY}
    profiles = {"gate": {"default": {"timeout": WAIT, **kept}}}
    async with outbox():
        whole = Clock()
        figures = await (on_disk if asked.get("durable") else in_memory)(profiles, asked)
        whole.stop(count, **figures)


async def in_memory(profiles: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, float]:
    """Fill a lane, and let it send."""
    count = asked["events"]
    async with running(profiles, asked) as hub:
        before, clock = memory("VmRSS"), Clock()
        await put_all(hub, bodies(asked, count))
        await queued(hub, count)
        figures = {"put_rate": count / clock.used(), "memory": float(memory("VmRSS") - before)}
        clock = Clock()
        hub.ingress.gate.OPEN.set()
        await queued(hub, 0)
        return figures | {"send_rate": count / clock.used()}


async def on_disk(profiles: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, float]:
    """Fill the outbox, start again, and send."""
    count = asked["events"]
    asked = {**asked, "settings": {"outbox_max_bytes": PLENTY}, "join": WAIT}
    async with running(profiles, asked) as hub:
        before, clock = memory("VmRSS"), Clock()
        await put_durable(hub, bodies(asked, count))
        figures = {"put_rate": count / clock.used(), "memory": float(memory("VmRSS") - before)}
        name = hub.evbus.RUNTIME.bus.lanes[0].name
        hub.ingress.gate.DOWN = True  # a stop does not wait for it
        hub.ingress.gate.OPEN.set()
    figures["file"] = file_size()
    if asked.get("replayed"):
        async with timed(figures, "restart", {"internal": {"default": {}}}, asked) as hub:
            clock, done, more = Clock(), 0, True
            while more:
                moved, more = await pending.change(hub.evbus.RUNTIME.bus.outbox, SET_ASIDE, name)
                done += moved
            figures["set_aside_rate"] = done / clock.used()
    async with timed(figures, "dead_restart" if asked.get("replayed") else "restart", profiles, asked) as hub:
        hub.ingress.gate.OPEN.set()
        clock = Clock()
        if asked.get("replayed"):
            await replay.replay(hub.evbus.RUNTIME.bus, range(1, count + 1))
        await queued(hub, 0)
        figures["send_rate"] = count / clock.used()
        if hub.evbus.RUNTIME.bus.account().delivered != count:
            raise SystemExit(f"not everything was sent: {hub.evbus.RUNTIME.bus.account()}")
    return figures


@asynccontextmanager
async def timed(
    figures: dict[str, float], name: str, profiles: Mapping[str, Any], asked: Mapping[str, Any]
) -> AsyncIterator[Any]:
    """Give a hub whose bus runs, and note how long the start took."""
    clock = Clock()
    async with running(profiles, asked) as hub:
        figures[name] = clock.used()
        yield hub


def file_size() -> int:
    """Give the bytes of the outbox's file."""
    return os.path.getsize(os.environ["EVBUS_OUTBOX"])


async def put_durable(hub: Any, stream: Iterator[Any]) -> None:
    """Let many tasks put, each after the commit of its event before."""

    async def put() -> None:
        for body in stream:
            await hub.evbus.broker.put("bench", body)

    await asyncio.gather(*(put() for _ in range(TASKS)))


async def queued(hub: Any, count: int) -> None:
    """Wait until the lane holds so many events, in memory and on the disk."""
    lane = hub.evbus.RUNTIME.bus.lanes[0]
    while hub.evbus.BUS.qsize() or len(lane.queue) + lane.behind != count:  # noqa: ASYNC110 - there is no event for it
        await asyncio.sleep(0.001)


asyncio.run(main())

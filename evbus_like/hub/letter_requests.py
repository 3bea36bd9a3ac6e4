"""What `evbus dead` and `evbus outbox` ask of a running bus: to change what is in its outbox."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evbus_like.engine.errors import EvbusError
from evbus_like.engine.sending import replay
from evbus_like.hub.runtime import Hub

if TYPE_CHECKING:
    from evbus_like.engine.outbox.requests import Request

log = logging.getLogger("evbus_like.outbox")

LOOK_EVERY = 0.5  # seconds


def watch(hub: Hub) -> asyncio.Task[None]:
    """Begin to look for requests, for as long as the bus runs."""
    return asyncio.create_task(_watch(hub), name="evbus_like requests")


async def end(task: asyncio.Task[None]) -> None:
    """End what `watch` began."""
    task.cancel()
    await asyncio.wait([task], timeout=2.0)


async def _watch(hub: Hub) -> None:
    path: Path | None = None
    try:
        while True:
            box = hub.evbus.RUNTIME.bus.outbox
            if box is not None:
                from evbus_like.engine.outbox import requests  # not before: a bus without an outbox does not need it

                if path is None:
                    path = box.path
                    _begin(path)
                for name, request in requests.taken(path):
                    answer = await _carried_out(hub, request)
                    with suppress(OSError):
                        requests.answer(path, name, answer)
            await asyncio.sleep(LOOK_EVERY)
    finally:
        if path is not None:
            requests.end(path)


def _begin(path: Path) -> None:
    from evbus_like.engine.outbox import requests

    try:
        requests.begin(path)
    except OSError as error:
        log.warning(
            "`evbus dead` and `evbus outbox` can change nothing in the outbox %s while this process runs: %s",
            path,
            error,
        )


async def _carried_out(hub: Hub, request: Request) -> dict[str, Any]:
    from evbus_like.engine.outbox import pending, requests

    bus, more = hub.evbus.RUNTIME.bus, False
    try:
        if bus.outbox is None:
            return {"error": "the outbox is not open any more"}
        if request.action == requests.REPLAY:
            done = await replay.replay(bus, request.numbers, request.to)
        elif request.action == requests.PURGE:
            done = await bus.outbox.purge(request.numbers)
        elif request.action == requests.CANCEL:
            done = int(await bus.outbox.cancel(request.to))
        elif any(lane.name == request.to and lane.state != "closed" for lane in bus.lanes):
            return {
                "error": f"it sends events to {request.to}: stop it, or remove the profile and reload, and try again"
            }
        else:
            done, more = await pending.change(bus.outbox, request.action, request.to)
    except EvbusError as error:
        log.warning("the command asked to %s in the outbox: %s", request.action, error)
        return {"error": str(error)}
    except Exception as error:  # the next request is carried out all the same
        log.exception("the command asked to %s in the outbox", request.action)
        return {"error": f"{type(error).__name__}: {error}; the log of the process says more"}
    log.info("the command asked to %s in the outbox: %d events", request.action, done)
    return {"done": done, "more": more}

"""Send what is left in the outboxes of workers that do not exist any more, because there are fewer now.

Each outbox of the application that no process has open, and in which events wait, is sent by a bus of its own, in the
process that comes first. A worker that starts meanwhile takes another outbox.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from pathlib import Path
from time import time
from typing import TYPE_CHECKING

from evbus_like.engine.bus import Bus
from evbus_like.engine.errors import EvbusError, OutboxLocked, SettingError
from evbus_like.engine.sending.router import Entry
from evbus_like.hub import outbox, outbox_place
from evbus_like.hub.profiles import plan, settings
from evbus_like.hub.runtime import Hub
from evbus_like.processes.worker import THIS

if TYPE_CHECKING:
    from evbus_like.engine.outbox import Outbox

log = logging.getLogger("evbus_like.outbox")

LOOK_EVERY = 10.0  # seconds
SEND_FOR = 60.0  # seconds, then with the profiles that there are then
TICK = 0.1  # seconds
STOP = 2.0  # seconds


def watch(hub: Hub, box: Outbox | None) -> asyncio.Task[None] | None:
    """Begin to look for such outboxes, unless there can be none. `box` is the outbox of this process."""
    try:
        first = outbox.configured(hub) or outbox_place.default_path(hub)
    except SettingError:  # no home folder
        return None
    if THIS is None and (box is None or not _others(first, box.path)):
        return None
    return asyncio.create_task(_watch(hub, first), name="evbus_like leftovers")


async def end(task: asyncio.Task[None] | None) -> None:
    """End what `watch` began; what was not sent stays in its outbox."""
    if task is not None:
        task.cancel()
        await asyncio.wait([task], timeout=3 * STOP)


def _others(first: Path, own: Path) -> list[Path]:
    return [path for path in outbox_place.of_workers(first) if path.absolute() != own.absolute()]


async def _watch(hub: Hub, first: Path) -> None:
    seen: Collection[Path] = ()
    logged: dict[Path, str] = {}
    await hub.evbus.RUNTIME.bus.join()
    while True:
        box = hub.evbus.RUNTIME.bus.outbox
        free = [path for path in _others(first, box.path) if outbox.is_free(path)] if box is not None else []
        for path in free:
            if path in seen or THIS is None:  # twice: a worker that is being restarted comes first
                trouble = await _sent(hub, path)
                if trouble and logged.get(path) != trouble:
                    logged[path] = trouble
                    log.warning("events in the outbox %s of an earlier worker are not sent: %s", path, trouble)
        seen = free
        await asyncio.sleep(LOOK_EVERY)


async def _sent(hub: Hub, path: Path) -> str:
    """Send the events of an outbox; return why some of them cannot be sent, or an empty string."""
    from evbus_like.engine.outbox.inspect import summarize

    runtime = hub.evbus.RUNTIME
    try:
        summary = await asyncio.to_thread(summarize, path)
        entries = plan.entries(hub, runtime.contexts, runtime.reporter)
        names = {entry.lane.name for entry in entries}
        waiting = {name: count for name, count in summary.waiting.items() if name in names}
        if waiting or _soon_due(summary.first_due):
            await _send(hub, path, entries, sum(waiting.values()), names)
    except OutboxLocked:  # another process was faster
        return ""
    except EvbusError as error:
        return str(error)
    unknown = sorted(set(summary.waiting) - names)
    return f"no profile {', '.join(unknown)} exists" if unknown else ""


def _soon_due(due: float | None) -> bool:
    """Whether a scheduled event is due before the look after the next."""
    return due is not None and due < time() + 2 * LOOK_EVERY


async def _send(hub: Hub, path: Path, entries: Sequence[Entry], waiting: int, names: AbstractSet[str]) -> None:
    """Send the events of an outbox; those that cannot be sent within a while stay until the next look."""
    from evbus_like.engine.outbox import Outbox

    box = Outbox(path, int(settings.config(hub, "outbox_max_bytes", 1024**3)))
    recovered = await asyncio.to_thread(box.open)
    if recovered is not None:
        log.error("%s", recovered)
    if waiting:
        log.warning("%d events in the outbox %s of an earlier worker are sent now", waiting, path)
    bus = Bus(hub.evbus.RUNTIME.reporter)
    running = asyncio.create_task(bus.run(entries, box), name="evbus_like leftovers bus")
    try:
        await bus.join()
        with suppress(TimeoutError):
            async with asyncio.timeout(SEND_FOR):
                while (  # noqa: ASYNC110 - nothing tells of it
                    not names.isdisjoint(box.counts().pending)
                    or (box.counts().scheduled and _soon_due(await box.first_due()))
                ):
                    await asyncio.sleep(TICK)
    finally:
        await bus.stop(STOP)
        running.cancel()
        await asyncio.wait([running], timeout=STOP)

"""Reloading: a running bus changes its profiles; no event is lost, repeated or reordered."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evbus_like.engine.bus import Bus
from evbus_like.engine.errors import LifecycleError, PutError
from evbus_like.engine.sending.lane import Lane
from evbus_like.engine.sending.router import Entry

if TYPE_CHECKING:
    from evbus_like.engine.outbox import Outbox

log = logging.getLogger("evbus_like.bus")

CLOSING = 2.0  # seconds beyond the deadline that closing a removed lane may take


@dataclass(frozen=True)
class Reloaded:
    """What a reload changed, by the names of the lanes; `received` are the profiles of handlers and calls."""

    changed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    received: tuple[str, ...] = ()

    def __str__(self) -> str:
        named = ((word, getattr(self, word)) for word in ("changed", "added", "removed"))
        parts = [f"{len(names)} {word} ({_some(names)})" for word, names in named if names]
        if self.received:
            parts.append(f"{len(self.received)} changed for handlers and calls ({_some(self.received)})")
        return ", ".join([*parts, f"{len(self.unchanged)} unchanged"])


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")


def must_run(bus: Bus) -> None:
    """Raise LifecycleError unless the bus runs in this event loop."""
    if bus.state != "running":
        raise LifecycleError(f"reload was called while the bus is {bus.state}; start it with the new profiles")
    if asyncio.get_running_loop() is not bus.loop:
        raise LifecycleError("reload must be called in the event loop of the listener")


async def reload(bus: Bus, entries: Sequence[Entry], timeout: float, outbox: Outbox | None = None) -> Reloaded:
    """Change the profiles; returns when the old connections are closed, or after about `timeout` seconds.

    An entry that holds a running lane is unchanged. An entry with the name of a running lane reconfigures that lane,
    and all others are new. `outbox` is for a bus that had none. Raises LifecycleError and changes nothing if the bus
    does not run in this event loop.
    """
    must_run(bus)
    if outbox is not None:
        bus.attach_outbox(outbox)
    before = {entry.lane.name: entry.lane for entry in bus.admission.router.entries}
    known = {lane.name: lane for lane in bus.lanes}
    names: dict[str, list[str]] = {"changed": [], "added": [], "unchanged": []}
    reconnects: list[asyncio.Future[None]] = []
    kept: list[Entry] = []
    for entry in entries:
        lane, new = known.get(entry.lane.name, entry.lane), entry.lane
        if lane is not new:
            lane.reconfigure(new.destination, new.options)
            lane.slot = lane.slot or new.slot
        if lane not in bus.workers or lane.state == "closed":
            bus.open(lane)
            names["added"].append(lane.name)
        elif lane is not new:
            reconnects.append(bus.workers[lane].reconnect())
            names["changed"].append(lane.name)
        else:
            names["unchanged"].append(lane.name)
        kept.append(Entry(entry.matches, lane, entry.serializer))
    gone = [before[name] for name in before.keys() - {entry.lane.name for entry in kept}]
    for lane in gone:
        lane.profile_removed()
    bus.set_routes(kept)
    deadline = asyncio.get_running_loop().time() + timeout
    await asyncio.gather(_all(reconnects, timeout), *(_retire(bus, lane, deadline) for lane in gone))
    return Reloaded(removed=tuple(lane.name for lane in gone), **{word: tuple(found) for word, found in names.items()})


async def _all(reconnects: Sequence[asyncio.Future[None]], timeout: float) -> None:
    """Wait for lanes to reconnect; one whose batch in flight takes longer finishes on its own."""
    if reconnects:
        await asyncio.wait(reconnects, timeout=timeout)


async def _retire(bus: Bus, lane: Lane, deadline: float) -> None:
    """Let a removed lane send the events that it has, and close it.

    It stays in the account, and is reopened if a profile of that name is added again.
    """
    now, worker = asyncio.get_running_loop().time, bus.workers[lane]
    committed_by = max(deadline, now() + CLOSING)
    while bus.admission.commits.delays((lane,)):
        if now() >= committed_by:
            log.warning("%s was removed, but its events wait for the disk; it is closed with the bus", lane.name)
            return
        await asyncio.sleep(0.001)
    draining = asyncio.create_task(worker.drain(), name=f"evbus_like drain {lane.name}")
    await asyncio.wait([draining], timeout=max(0.0, deadline - now()))
    draining.cancel()
    if bus.state != "running":
        return  # a stop closes all remaining lanes and logs what they held
    trouble = lane.trouble
    await worker.close(CLOSING)
    if bus.state != "running":
        return
    if bus.outbox is not None:
        await _flush(bus.outbox)
    lost = lane.abandon()
    if lost:
        log.error("%s was removed; the %d events that it had in memory are dropped (%s)", lane.name, lost, trouble)
    if lane.behind:
        log.warning(
            "%s was removed; %d of its events stay in the outbox until a profile of that name is added",
            lane.name,
            lane.behind,
        )


async def _flush(outbox: Outbox) -> None:
    """Remove delivered events from the outbox, so that they are not counted if the profile is added again."""
    try:
        async with asyncio.timeout(CLOSING):
            await outbox.flush()
    except (PutError, TimeoutError) as error:
        log.warning("%s", error)

"""Reloading: a running bus goes on with other profiles; no event is lost, repeated or out of order for it."""

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
    """What a reload did, by the names of the lanes."""

    changed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()

    def __str__(self) -> str:
        named = ((word, getattr(self, word)) for word in ("changed", "added", "removed"))
        parts = [f"{len(names)} {word} ({_some(names)})" for word, names in named if names]
        return ", ".join([*parts, f"{len(self.unchanged)} unchanged"])


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")


def must_run(bus: Bus) -> None:
    """Raise LifecycleError unless the bus runs, and runs in this event loop."""
    if bus.state != "running":
        raise LifecycleError(f"reload was called while the bus is {bus.state}; start it with the new profiles")
    if asyncio.get_running_loop() is not bus.loop:
        raise LifecycleError("reload must be called in the event loop of the listener")


async def reload(bus: Bus, entries: Sequence[Entry], timeout: float, outbox: Outbox | None = None) -> Reloaded:
    """Go on with these profiles; returns when the old connections are closed, or after about `timeout` seconds.

    An entry whose lane is a running one is left alone. One that bears the name of a running lane gives it its
    destination and options, and all others are new. `outbox` is for a bus that had none. Raises LifecycleError, and
    then nothing has changed.
    """
    must_run(bus)
    if outbox is not None:
        bus.adopt(outbox)
    before = {entry.lane.name: entry.lane for entry in bus.admission.router.entries}
    known = {lane.name: lane for lane in bus.lanes}
    names: dict[str, list[str]] = {"changed": [], "added": [], "unchanged": []}
    renewals: list[asyncio.Future[None]] = []
    kept: list[Entry] = []
    for entry in entries:
        lane, new = known.get(entry.lane.name, entry.lane), entry.lane
        if lane is not new:
            lane.renew(new.destination, new.options)
        if lane not in bus.workers or lane.state == "closed":
            bus.open(lane)
            names["added"].append(lane.name)
        elif lane is not new:
            renewals.append(bus.workers[lane].renew())
            names["changed"].append(lane.name)
        else:
            names["unchanged"].append(lane.name)
        kept.append(Entry(entry.matches, lane, entry.serializer))
    gone = [before[name] for name in before.keys() - {entry.lane.name for entry in kept}]
    for lane in gone:
        lane.leave()
    bus.lead(kept)
    deadline = asyncio.get_running_loop().time() + timeout
    await asyncio.gather(_all(renewals, timeout), *(_retire(bus, lane, deadline) for lane in gone))
    return Reloaded(removed=tuple(lane.name for lane in gone), **{word: tuple(found) for word, found in names.items()})


async def _all(renewals: Sequence[asyncio.Future[None]], timeout: float) -> None:
    """Wait for lanes to change over; one whose batch in flight takes longer does so by itself."""
    if renewals:
        await asyncio.wait(renewals, timeout=timeout)


async def _retire(bus: Bus, lane: Lane, deadline: float) -> None:
    """Let a lane that gets no more events send what it has, and close it.

    It stays in the account, and waits there for a profile of that name to come back.
    """
    now, worker = asyncio.get_running_loop().time, bus.workers[lane]
    committed_by = max(deadline, now() + CLOSING)
    while bus.admission.commits.concerns((lane,)):
        if now() >= committed_by:
            log.warning("%s was removed, but events for it wait for the disk: it is closed with the bus", lane.name)
            return
        await asyncio.sleep(0.001)
    draining = asyncio.create_task(worker.drain(), name=f"evbus_like drain {lane.name}")
    await asyncio.wait([draining], timeout=max(0.0, deadline - now()))
    draining.cancel()
    if bus.state != "running":
        return  # a stop closes all lanes that are left, and says what was in them
    trouble = lane.trouble
    await worker.close(CLOSING)
    if bus.state != "running":
        return
    if bus.outbox is not None:
        await _settled(bus.outbox)
    lost = lane.abandon()
    if lost:
        log.error("%s was removed, and %d events that it had in memory are dropped (%s)", lane.name, lost, trouble)
    if lane.behind:
        log.warning(
            "%s was removed, and %d events for it stay in the outbox until a profile of that name is back",
            lane.name,
            lane.behind,
        )


async def _settled(outbox: Outbox) -> None:
    """Let the outbox strike off what was delivered, so that it is not counted when the profile comes back."""
    try:
        async with asyncio.timeout(CLOSING):
            await outbox.flush()
    except (PutError, TimeoutError) as error:
        log.warning("%s", error)

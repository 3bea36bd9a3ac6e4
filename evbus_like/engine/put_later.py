"""Putting for later: the event waits in the outbox until it is due."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine
from datetime import datetime
from time import time
from typing import Any, TypeVar

from evbus_like.engine.bus import Bus
from evbus_like.engine.errors import BadEvent, BusStopped, LifecycleError, OutboxFull, PutError, PutTimeout
from evbus_like.engine.event import Event
from evbus_like.engine.put_within import put_within, tables_of
from evbus_like.engine.receipt import Receipt, ScheduledReceipt
from evbus_like.engine.suggest import shown
from evbus_like.engine.waiting import LOOP_GRACE, run_in_loop

T = TypeVar("T")

MOST = 10 * 365 * 86400  # seconds from now: an event that is due in a hundred years is a mistake in a unit


def due_time(delay: Any, at: Any) -> float:
    """Return when an event is due, in seconds since 1970; raises BadEvent."""
    if delay is not None and at is not None:
        raise BadEvent("an event has a delay or an at, not both: delay counts seconds from now, at is a datetime")
    if delay is not None:
        number = isinstance(delay, (int, float)) and not isinstance(delay, bool)
        if not number or not 0 <= delay <= MOST:  # not so for nan
            raise BadEvent(f"delay must be a number of seconds from 0 to {MOST} (ten years), not {shown(delay)}")
        return time() + float(delay)
    if not isinstance(at, datetime) or at.utcoffset() is None:
        raise BadEvent(f"at must be a datetime with a time zone, as datetime.now(UTC) has one, not {shown(at)}")
    due = at.timestamp()
    if not math.isfinite(due) or due > time() + MOST:
        raise BadEvent(f"at must be at most ten years from now, not {shown(at)}")
    return due


async def put_later(bus: Bus, event: Event, due: float, confirm: str, within: Any, timeout: float) -> Receipt:
    """Store an event until it is due; raises what `put` raises, and LifecycleError without an outbox."""
    if confirm != "accepted":
        raise BadEvent(f"an event with delay or at is stored until it is due: confirm={shown(confirm)} cannot be had")
    if within is not None:
        return await put_within(bus, event, within, confirm, timeout, due)
    if bus.state == "new":
        raise LifecycleError(
            "put with delay or at needs a started bus, whose outbox holds the event: await hub.evbus.init.join()"
        )
    return await _in_listener(bus, _put_later(bus, event, due, timeout), timeout)


async def _put_later(bus: Bus, event: Event, due: float, timeout: float) -> ScheduledReceipt:
    deadline = asyncio.get_running_loop().time() + timeout
    if bus.outbox is None:
        raise LifecycleError(
            "put with delay or at needs an outbox, which holds the event until it is due: give a profile"
            " `outbox: always`, name a file with the setting outbox_path (EVBUS_OUTBOX), or put it `within` a"
            " transaction of a PostgreSQL"
        )
    forms = bus.admission.forms(event)
    names = tuple(name for _, its in forms for name in its)
    if forms:
        try:
            async with asyncio.timeout_at(deadline):
                await _store(bus, due, forms)
        except PutError:
            bus.admission.rejected += 1
            raise
        except TimeoutError:
            raise PutTimeout(
                f"the outbox {bus.outbox.path} had no room, or did not answer, for {timeout:g} s: whether the event"
                f" {event.id} is scheduled is not known; cancel it before you put it again"
            ) from None
    return ScheduledReceipt(event.id, names, due)


async def _store(bus: Bus, due: float, forms: Any) -> None:
    while bus.state == "running" and bus.outbox is not None:
        scheduler = bus.begin_scheduler()
        scheduler.expect(due)
        try:
            await bus.outbox.schedule(due, forms)
        except OutboxFull as full:
            await bus.outbox.wait_for_room(full.needed)
            continue
        scheduler.expect(due)
        return
    raise bus.refusal(forms[0][0].profile)


async def cancel(bus: Bus, schedule_id: Any, within: Any, timeout: float) -> bool:
    """Delete an event that is not due yet; False if there is none of this id, or not any more."""
    if not isinstance(schedule_id, str):
        raise BadEvent(f"schedule_id must be that of a receipt, a string, not {shown(schedule_id)}")
    if within is not None:
        return await tables_of(bus).cancel(schedule_id, within, timeout)
    if bus.forked or bus.state != "running":
        raise LifecycleError("cancel needs a running bus, which knows the outbox: await hub.evbus.init.join()")
    if bus.outbox is not None and await bus.outbox.cancel(schedule_id):
        return True
    if await bus.cancel_elsewhere(schedule_id):
        return True
    tables = bus.tables
    return tables is not None and await _in_listener(bus, tables.cancel_now(schedule_id), timeout)


async def _in_listener(bus: Bus, made: Coroutine[Any, Any, T], timeout: float) -> T:
    """Run a coroutine in the event loop of the listener."""
    if asyncio.get_running_loop() is bus.loop:
        return await made
    return await run_in_loop(
        made,
        bus.loop,
        timeout + LOOP_GRACE,
        blocked=PutTimeout(f"the listener's event loop did not answer for {timeout:g} s; is it blocked?"),
        closed=BusStopped("the event loop of the listener is closed; start the bus again"),
    )

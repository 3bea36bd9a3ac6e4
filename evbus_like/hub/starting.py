"""Starts the bus of a hub: what is checked and opened first, and what runs beside the bus until it ends."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evbus_like.engine.errors import LifecycleError
from evbus_like.hub import leftovers, letter_requests, outbox, pauses, postgres, rates, traced
from evbus_like.hub.application import lifespan, middleware, rpc_proxy
from evbus_like.hub.profiles import plan, settings, variables
from evbus_like.hub.runtime import Contexts, Hub

if TYPE_CHECKING:  # a start stays short
    from evbus_like.engine.outbox import Outbox
    from evbus_like.engine.sending.router import Entry
    from evbus_like.postgres.database import Database


@dataclass
class Prepared:
    """What a bus is run with."""

    entries: Sequence[Entry]
    databases: Sequence[Database]
    box: Outbox | None


async def prepare(hub: Hub, contexts: Contexts | None) -> Prepared:
    """Check what the operator wrote and what the application brings, and open the outbox.

    Raises what `start` raises, also from the calls of `join`.
    """
    now = hub.evbus.RUNTIME
    now.bus.require_not_running()
    if now.starting:
        raise LifecycleError("start was called while another start of this hub opens the outbox; a hub has one")
    try:
        settings.check(hub)
        variables.warn(hub)
        now.events.must_be_sound()
        middleware.begin(hub)
        now.lifespan = lifespan.load(hub)
        rpc_proxy.begin(hub)
        databases = postgres.of_contexts(hub, contexts)
        rates.begin(hub, databases)
        entries = plan.entries(hub, contexts, now.reporter)
        now.bus.intake.maxsize = int(settings.config(hub, "max_queued", now.bus.intake.maxsize))
        now.bus.intake.max_bytes = int(settings.config(hub, "max_queued_bytes", now.bus.intake.max_bytes))
        now.putter.timeout = float(settings.config(hub, "put_timeout", now.putter.timeout))
        now.bus.stop_grace = float(settings.config(hub, "stop_grace", now.bus.stop_grace))
        now.starting = True
        await lifespan.start(hub)
        await postgres.look_at(databases)
        box = await outbox.opened(hub, entries)
    except BaseException as error:
        await now.lifespan.stop(lifespan.TIMEOUT)
        if isinstance(error, Exception):
            now.bus.start_failed(error)
        raise
    finally:
        now.starting = False
    now.begin(contexts)
    now.reporter.lanes = {entry.lane.name: entry.lane for entry in entries}
    now.reporter.start(settings.config(hub, "error_callback_ref"))
    return Prepared(entries, databases, box)


@asynccontextmanager
async def beside(hub: Hub, prepared: Prepared) -> AsyncIterator[None]:
    """Begin what runs beside the bus, and end it, with all that the run has opened."""
    now = hub.evbus.RUNTIME
    hub.evbus.STARTED = True
    if traced.has_meters():
        from evbus_like.hub import monitoring  # a program without an SDK does not need it

        monitoring.of(hub).export()
    sending_leftovers, answering = leftovers.watch(hub, prepared.box), letter_requests.watch(hub)
    now.bus.cancel_elsewhere = functools.partial(outbox.cancel_elsewhere, hub)
    relaying = postgres.begin(hub, prepared.databases)
    following = pauses.watch(hub)
    try:
        yield
    finally:
        hub.evbus.STARTED = False
        await postgres.end(hub, relaying)
        await rates.end(hub)
        await lifespan.stop(hub, 5.0)  # unless `stop` has done so
        await pauses.end(following)
        await letter_requests.end(answering)
        await leftovers.end(sending_leftovers)
        await rpc_proxy.close(hub)
        await now.close(5.0)
        await now.reporter.close(5.0)
        if now.monitor is not None:
            await now.monitor.close()

"""Putting within a transaction: the event is stored by the caller's database, and delivered after the commit."""

from __future__ import annotations

from typing import Any

from evbus_like.engine.bus import Bus
from evbus_like.engine.errors import BadEvent, LifecycleError
from evbus_like.engine.event import Event
from evbus_like.engine.receipt import Receipt, StoredForLater, StoredReceipt
from evbus_like.engine.sending.tables import Tables


async def put_within(
    bus: Bus, event: Event, within: Any, confirm: str, timeout: float, due: float | None = None
) -> Receipt:
    """Store an event in the caller's transaction; raises before anything is written, or what the database raises."""
    if confirm != "accepted":
        raise BadEvent(f"within stores the event, to be delivered after the commit: confirm={confirm!r} cannot be had")
    tables = tables_of(bus)
    names = _serialize(bus, tables, event)
    await tables.store(event, within, timeout, due=due)
    return StoredReceipt(event.id, names) if due is None else StoredForLater(event.id, names, due)


def put_within_now(bus: Bus, event: Event, within: Any) -> str:
    """Store an event through a blocking connection, and return its id; raises what `put_within` raises."""
    tables = tables_of(bus)
    _serialize(bus, tables, event)
    tables.store_now(event, within)
    return event.id


def tables_of(bus: Bus) -> Tables:
    """Return where events are stored that are put within a transaction; raises LifecycleError if that is nowhere."""
    if bus.closed:
        raise bus.refusal("")
    if bus.state == "new":
        raise LifecycleError("within=... needs a started bus, which knows the database: await hub.evbus.init.join()")
    if bus.tables is None:
        raise LifecycleError(
            "within=... needs a profile of the provider postgres in the credentials, which names the database:"
            " postgres: {NAME: {connection: postgresql://USER:PASSWORD@HOST/DATABASE}}"
        )
    return bus.tables


def _serialize(bus: Bus, tables: Tables, event: Event) -> tuple[str, ...]:
    """Serialize an event for the first of its destinations, and return the names of all."""
    route = bus.admission.route(event.profile)
    serializer, lanes = route.groups[0] if route.groups else (tables.serializer, ())
    body = serializer.pack(event.body, lanes)
    if route.ask_above is not None:
        route.ask(event, body, serializer, lanes)
    event.body, event.content_type = body, serializer.content_type
    return route.names

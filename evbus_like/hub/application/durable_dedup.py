"""Durable dedup: keeps the ids of handled events in the outbox, which is opened if necessary."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from evbus_like.engine.receiving.dedup import DurableDedupWindow
from evbus_like.engine.receiving.handler import Handler, HandlerOptions
from evbus_like.engine.receiving.subscription import BROADCAST
from evbus_like.hub import outbox
from evbus_like.hub.runtime import Hub

if TYPE_CHECKING:
    from evbus_like.engine.outbox import Outbox


def problem(options: HandlerOptions, identifier: str) -> str:
    """Return why ids cannot be kept for a handler, or an empty string: its queue may get a new name with each start."""
    if options.dedup_durable and options.delivery == BROADCAST and not identifier:
        return (
            "dedup_durable keeps ids under the queue's name, and that of a BROADCAST without a broadcast_identifier is"
            " another one after each start: give it one that stays the same"
        )
    return ""


async def box(hub: Hub, handlers: Sequence[Handler]) -> Outbox | None:
    """Return the outbox if a handler keeps ids; raises OutboxLocked and other EvbusErrors."""
    if not any(handler.options.dedup_durable for handler in handlers):
        return None
    return await asyncio.shield(hub.evbus.RUNTIME.create_task(_open(hub), "open outbox"))


async def _open(hub: Hub) -> Outbox:
    runtime = hub.evbus.RUNTIME
    engine = runtime.bus
    async with runtime.outbox_lock:  # a reload may open it, too
        if engine.outbox is not None:
            return engine.outbox
        made = await outbox.opened(hub, engine.admission.router.entries, needed=True)
        assert made is not None
        if engine.state != "running":  # the bus was stopped meanwhile
            await made.close()
            engine.require_running("hub.evbus.handlers.start")
        engine.attach_outbox(made)
        return made


async def window(opened: Outbox | None, listener: str, options: HandlerOptions) -> DurableDedupWindow | None:
    """Return the loaded dedup window of a listener if it is durable; raises StorageError."""
    if opened is None or not options.dedup_durable:
        return None
    made = DurableDedupWindow(opened, listener, options.dedup)
    await made.load()
    return made

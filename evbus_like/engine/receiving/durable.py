"""Consequences: what a handler put must be safe before its own event is acknowledged."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from evbus_like.engine.errors import EvbusError

if TYPE_CHECKING:
    from evbus_like.engine.bus import Bus
    from evbus_like.engine.receipt import Receipt


class NotSafe(EvbusError):
    """What a handler put was refused, or is not delivered yet."""


async def safe(bus: Bus, receipts: list[Receipt], timeout: float) -> None:
    """Return when every event is delivered, in the outbox, or given up to the dead letters.

    Raises NotSafe where one was refused, or none of it came true within `timeout` seconds; the handler is then called
    again, and puts again.
    """
    deadline = asyncio.get_running_loop().time() + timeout
    for receipt in receipts:
        try:
            await receipt.wait_accepted(bus.deadlines, deadline)
            stored = {lane.name for lane in bus.lanes if lane.options.durable}
            if not stored.issuperset(receipt.pending):
                await receipt.wait_delivered(bus.deadlines, deadline)
        except TimeoutError:
            waiting = ", ".join(receipt.pending) or "the bus"
            raise NotSafe(f"the event {receipt.id} that it put waits for {waiting} after {timeout:g} s") from None
        except EvbusError as error:
            raise NotSafe(f"the event {receipt.id} that it put was refused: {error}") from error

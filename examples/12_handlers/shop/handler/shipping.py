"""The service shipping: it wants the orders that were placed, and says what it has shipped."""

import evbus_like.handlers as evbus


class WarehouseBusy(Exception):
    """Nobody answers; the next try will do."""


@evbus.handler("orders", "order_placed", attempts=3, backoff=0.1, expected_exceptions=WarehouseBusy)
async def ship(hub, event):
    """Ship an order; what is put here is delivered before the order's event is acknowledged."""
    if event.body["id"] == 2 and event.attempt == 1:
        raise WarehouseBusy("try again")
    await hub.evbus.broker.dispatch("shipping", "shipped", {"id": event.body["id"], "attempt": event.attempt})

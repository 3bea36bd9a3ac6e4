"""The service billing: the end of the chain."""

import evbus_like.handlers as evbus


async def charge(hub, customer, item, left):
    """Charge a customer; its answer goes to the first caller."""
    asked_by = evbus.current().event.headers["evbus-source"]
    return {"charged": customer, "item": item, "left": left, "asked by": asked_by}

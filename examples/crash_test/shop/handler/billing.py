"""Two ways to take money for an order, both of which look right."""

import evbus_like.handlers as evbus


@evbus.handler("shop", "ordered", name="careless")
async def careless(hub, event):
    """Takes the money, then remembers it: between the two the process may die."""
    order = event.body["order"]
    if order in hub.PAID:
        return
    await hub.BANK.charge(order)
    hub.PAID.add(order)
    await hub.evbus.broker.dispatch("billing", "paid", event.body)


@evbus.handler("shop", "ordered", name="careful")
async def careful(hub, event):
    """Gives the bank a key by which it knows a repeat, and puts the event again."""
    order = event.body["order"]
    await hub.BANK.charge(order, key=event.id)
    await hub.evbus.broker.dispatch("billing", "paid", event.body)

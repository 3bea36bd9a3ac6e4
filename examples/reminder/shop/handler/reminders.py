"""An order that is not paid after half an hour gets a reminder; the payment cancels it."""

import evbus_like.handlers as evbus

HALF_AN_HOUR = 30 * 60
A_DAY = 24 * 60 * 60


@evbus.handler("shop", "ordered")
async def plan(hub, event):
    """Plan the reminder, and keep its id with the order: in your database, here in a dictionary.

    Where nothing could send or handle it for a day after it was due, nobody wants it any more.
    """
    receipt = await hub.evbus.broker.dispatch("billing", "unpaid", event.body, delay=HALF_AN_HOUR, expires=A_DAY)
    hub.UNPAID[event.body["order"]] = receipt.schedule_id


@evbus.handler("shop", "paid")
async def forget(hub, event):
    """Cancel it; False means that it was just sent, and `remind` finds the order paid."""
    schedule_id = hub.UNPAID.pop(event.body["order"])
    print(f"order {event.body['order']} is paid, its reminder cancelled: {await hub.evbus.broker.cancel(schedule_id)}")


@evbus.handler("billing", "unpaid")
async def remind(hub, event):
    """Look again: a reminder that was under way when the payment came cannot be cancelled any more."""
    if event.body["order"] in hub.UNPAID:
        print(f"order {event.body['order']} is not paid: a reminder is sent")

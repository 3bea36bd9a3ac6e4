"""The service balance: a handler that is new today begins with the past, another with what comes from now on."""

import evbus_like.handlers as evbus

balance = {}


@evbus.handler("bank", "paid", since="earliest")
async def add_up(hub, event):
    """Add up all payments there are. Payments of one account come in their order."""
    balance[event.body["account"]] = balance.get(event.body["account"], 0) + event.body["amount"]


@evbus.handler("bank", "paid")
async def watch(hub, event):
    """See what is paid from now on."""
    print("watch:", event.body, flush=True)

"""Handlers of the service orders, which use the database."""

import evbus_like.handlers as evbus


@evbus.handler("shop", "sold")
async def note(hub, event):
    hub.DATABASE.execute("INSERT INTO orders VALUES (?)", (event.body["id"],))
    print("noted order", event.body["id"])

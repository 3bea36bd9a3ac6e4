"""The service mail: it wants all that shipping says. An ordinary function runs in a thread."""

import evbus_like.handlers as evbus


@evbus.handler("shipping", "#")
def tell(hub, event):
    """Tell the customer; the causation-id is the id of the order's event."""
    print(f"mail: {event.routing_key} {event.body}, because of an event: {'causation-id' in event.headers}", flush=True)

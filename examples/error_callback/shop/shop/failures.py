"""hub.shop.failures: what becomes of events that could not be delivered."""


async def handle(hub, data):
    """Say what failed, and put the event's id where somebody looks; a failure of that put is only counted."""
    error, context = data["exception"], data["context"]
    print(f"failed: {type(error).__name__}: {error}")
    await hub.evbus.broker.put(
        routing_key="failed",
        body={"routing_key": context["routing_key"], "error": type(error).__name__},
        profile="failed",
    )

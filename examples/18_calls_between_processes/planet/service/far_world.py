"""A service that another process calls."""

import os


async def hello(hub, name):
    """Greet somebody, and say who does."""
    return {"said": f"hello, {name}", "process": os.getpid()}


async def order(hub, id):
    """Place an order, and tell everybody who listens: a notification, event `order` of the service far_world."""
    await hub.evbus.broker.dispatch("far_world", "ordered", {"id": id})
    return "done"

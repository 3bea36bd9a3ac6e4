"""`evbus handlers`: what an application listens to."""

from __future__ import annotations

from typing import Any

from evbus_like.bridge.binding import subscription
from evbus_like.cli import application, console, shown
from evbus_like.engine.consuming.handler import Handler

HERE = "<this instance>"  # where a broadcast's identifier is drawn at the start


async def run(hub: Any) -> int:
    """List the handlers; raises HandlerError that names those that cannot be used."""
    application.load(hub)
    chosen = application.select(hub)
    rows = [_described(hub, each) for each in chosen]
    if hub.OPT.evbus_like.json:
        console.document(rows)
    else:
        columns = ("handler", "source", "events", "delivery", "profile", "queue", "function")
        shows = [[row[name] if name != "events" else ", ".join(row[name]) for name in columns] for row in rows]
        console.table(shown.many(len(rows), "handler"), columns, shows)
    return 0


def _described(hub: Any, handler: Handler) -> dict[str, Any]:
    asked = subscription(hub, handler, HERE)
    return {
        "handler": f"{handler.service}.{handler.name}",
        "source": asked.source,
        "events": list(asked.event_types),
        "delivery": asked.delivery,
        "reliable": asked.reliable,
        "profile": handler.options.profile,
        "queue": asked.queue,
        "dead_letters": asked.dead,
        "on_error": handler.options.on_error,
        "function": f"hub.{handler.ref}",
    }

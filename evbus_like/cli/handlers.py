"""`evbus handlers`: list the handlers of the applications."""

from __future__ import annotations

from typing import Any

from evbus_like.cli import application, console, shown
from evbus_like.engine.receiving.handler import Handler
from evbus_like.engine.receiving.subscription import Subscription
from evbus_like.engine.rpc import subscriptions
from evbus_like.hub.application import responses, rpc_proxy
from evbus_like.hub.application.binding import subscription

HERE = "<this instance>"  # for a broadcast identifier that is chosen at start


async def run(hub: Any) -> int:
    """List the handlers; raises HandlerError that names the invalid ones."""
    application.load(hub)
    of_events, of_answers = application.handlers_of(hub)
    rows = [_described(hub, each) for each in of_events]
    rows += [_of_answers(hub, each) for each in of_answers]
    if hub.OPT.evbus_like.json:
        console.document(rows)
    else:
        columns = ("handler", "source", "events", "delivery", "profile", "queue", "function")
        shows = [[row[name] if name != "events" else ", ".join(row[name]) for name in columns] for row in rows]
        console.table(shown.many(len(rows), "handler"), columns, shows)
    return 0


def _described(hub: Any, handler: Handler) -> dict[str, Any]:
    asked = subscription(hub, handler, HERE)
    return _row(handler, asked, asked.source, list(asked.event_types), handler.options.profile)


def _of_answers(hub: Any, marked: responses.Marked) -> dict[str, Any]:
    """Describe a handler of answers, whose source is the service that answers."""
    rpc_proxy.calls(hub).begin()  # reads the services file
    to = rpc_proxy.calls(hub).route(marked.of)
    called, kind = marked.key
    asked = subscriptions.responses(responses.owner(hub), to.exchange)
    events = [f"{called.rpartition('.')[2]} ({kind})"]
    return _row(marked.handler, asked, marked.of, events, to.profile or "default")


def _row(handler: Handler, asked: Subscription, source: str, events: list[str], profile: str) -> dict[str, Any]:
    return {
        "handler": f"{handler.service}.{handler.name}",
        "source": source,
        "events": events,
        "delivery": asked.delivery,
        "reliable": asked.reliable,
        "profile": profile,
        "queue": asked.queue,
        "dead_letters": asked.dead,
        "on_error": handler.options.on_error,
        "function": f"hub.{handler.ref}",
    }

"""`evbus handlers`: list the handlers of the applications."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from evbus_like.cli import application, common, console, receivers, shown
from evbus_like.engine.receiving import rules
from evbus_like.engine.receiving.handler import Handler, HandlerOptions
from evbus_like.engine.receiving.subscription import Subscription
from evbus_like.engine.rpc import subscriptions
from evbus_like.hub.application import handlers, responses, rpc_proxy
from evbus_like.hub.application.binding import subscription_of

HERE = "<this instance>"  # for a broadcast identifier that is chosen at start


async def run(hub: Any) -> int:
    """List the handlers; raises HandlerError that names the invalid ones."""
    application.load(hub)
    of_events, of_answers = application.handlers_of(hub)
    rows = [_described(hub, each) for each in of_events]
    rows += [_of_answers(hub, each) for each in of_answers]
    if hub.OPT.evbus_like.workers:
        await _add_workers(hub, rows)
    if hub.OPT.evbus_like.json:
        console.document(rows)
    else:
        columns = ("handler", "source", "events", "delivery", "profile", "queue", "on_failure", "options", "function")
        shows = [[row[name] if name != "events" else ", ".join(row[name]) for name in columns] for row in rows]
        console.table(shown.many(len(rows), "handler"), columns, shows)
        _show_workers(rows)
    return 0


async def _add_workers(hub: Any, rows: list[dict[str, Any]]) -> None:
    """Add to the row of each handler with shards which workers read them; raises a DeliveryError."""
    of = {row["handler"]: row for row in rows if row["shards"]}
    if not of:
        return
    found, wrong = receivers.found(hub, await common.contexts(hub), list(of), ())
    handlers.refuse([text for _, text in wrong])
    for each in found:
        row = of.get(each.name.removeprefix("handler "))
        if row is not None and each.subscription.shards:
            seen = await each.source.inspect(each.subscription)
            row.setdefault("workers", []).extend(
                {"worker": worker, "source": each.source.name, "shards": list(shards)}
                for worker, shards in seen.workers
            )


def _show_workers(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        if "workers" in row:
            read = [each for worker in row["workers"] for each in worker["shards"]]
            title = f"{row['handler']}: {len(set(read))} of {row['shards']} shards have a worker"
            cells = [
                (each["worker"], each["source"], ", ".join(map(str, each["shards"])) or "none")
                for each in row["workers"]
            ]
            console.table(title, ("worker", "source", "shards"), cells)


def _described(hub: Any, handler: Handler) -> dict[str, Any]:
    subscription = subscription_of(hub, handler, HERE)
    return _row(handler, subscription, subscription.source, list(subscription.event_types), handler.options.profile)


def _of_answers(hub: Any, marked: responses.Marked) -> dict[str, Any]:
    """Describe a handler of answers, whose source is the service that answers."""
    rpc_proxy.calls(hub).begin()  # reads the services file
    to = rpc_proxy.calls(hub).route(marked.of)
    called, kind = marked.key
    subscription = subscriptions.responses(responses.owner(hub), to.exchange)
    events = [f"{called.rpartition('.')[2]} ({kind})"]
    return _row(marked.handler, subscription, marked.of, events, to.profile or "default")


def _row(handler: Handler, subscription: Subscription, source: str, events: list[str], profile: str) -> dict[str, Any]:
    options = handler.options
    return {
        "handler": f"{handler.service}.{handler.name}",
        "source": source,
        "events": events,
        "delivery": subscription.delivery,
        "shards": subscription.shards,
        "reliable": subscription.reliable,
        "profile": profile,
        "queue": subscription.queue,
        "dead_letters": subscription.dead,
        "on_error": options.on_error,
        "attempts": options.attempts,
        "later": list(options.later),
        "rules": [each.as_dict() for each in options.rules],
        "on_failure": rules.described(options.policy(), options.rules),
        "where": None if options.where is None else _name(options.where),
        "max_priority": options.max_priority,
        "batch": options.batch,
        "linger": options.lingers if options.batch else None,
        "breaker": None if options.breaker is None else str(options.breaker),
        "rate": options.rate,
        "rate_by": options.rate_by or None,
        "inbox": options.inbox,
        "options": ", ".join(_options(options)),
        "function": f"hub.{handler.ref}",
    }


def _options(options: HandlerOptions) -> Iterator[str]:
    """Yield the options that not every handler has, in words."""
    if options.where is not None:
        yield f"where {_name(options.where)}"
    if options.max_priority is not None:
        yield f"priorities up to {options.max_priority}"
    if options.batch is not None:
        yield f"batch {options.batch} within {options.lingers:g} s"
    if options.inbox:
        yield f"inbox {options.inbox}"
    if options.breaker is not None:
        yield f"breaker {options.breaker}"
    if options.rate is not None:
        yield f"rate {options.rate}" + (f" by {options.rate_by}" if options.rate_by else "")


def _name(function: Any) -> str:
    return str(getattr(function, "__name__", type(function).__name__))

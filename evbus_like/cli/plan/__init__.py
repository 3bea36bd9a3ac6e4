"""`evbus plan`: how many processes, queues, partitions, connections and broker nodes a flow of events needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from evbus_like.cli import console, shown
from evbus_like.cli.errors import UsageError
from evbus_like.cli.plan import costs, model
from evbus_like.hub.profiles import settings

ASKED = ("rate", "bytes", "destinations", "handlers", "calls", "handler_ms", "cores", "speed")
NAMED_FIRST = 3  # limits in the table


async def run(hub: Any) -> int:
    """Print a plan for each kind of broker; return 1 if none of them can have events of that size."""
    asked = {name: settings.config(hub, name, settings.SPECS[name]["default"]) for name in ASKED}
    missing = " and ".join(f"--{name}" for name in ("rate", "bytes") if asked[name] is None)
    if missing:
        raise UsageError(f"{missing} must be given: evbus plan --rate 10000 --bytes 1000 (events a second, their size)")
    durable = bool(hub.OPT.evbus_like.durable)
    size = asked.pop("bytes")
    flow = model.Flow(size=size, durable=durable, **asked)
    plans = [model.plan(flow, broker) for broker in costs.BROKERS]
    if hub.OPT.evbus_like.json:
        data = {made.broker.provider: model.as_data(made) for made in plans}
        console.document({"asked": {**asked, "bytes": size, "durable": durable}, **data})
    else:
        _print(flow, plans)
    return 0 if any(not made.problem for made in plans) else 1


def _print(flow: model.Flow, plans: list[model.Plan]) -> None:
    wide = f"{shown.many(flow.destinations, 'destination')} and {shown.many(flow.handlers, 'handler')}"
    title = f"{flow.rate:,.10g} events/s of {_bytes(flow.size)} to {wide}, machines of {shown.many(flow.cores, 'core')}"
    console.table(title, ("what is needed", *(made.broker.name for made in plans)), list(_rows(plans)))
    for made in plans:
        if made.problem:
            print(f"{made.broker.name}: {made.problem}")
            continue
        reached = [each for each in made.first if each.needed > 1][:NAMED_FIRST]
        if not reached:
            nearest = made.first[0]
            print(f"{made.broker.name}: one of each is enough; the nearest limit is {nearest.name}, {_filled(nearest)}")
            continue
        print(f"{made.broker.name}: limits in the order in which they come:")
        for each in reached:
            print(
                f"  {each.name}: {_number(each.asked)} {each.unit}, one takes {_number(each.one_takes)}: {each.needed}"
            )


def _rows(plans: list[model.Plan]) -> Iterator[tuple[str, ...]]:
    def row(name: str, values: list[str]) -> tuple[str, ...]:
        return (name, *("-" if made.problem else value for made, value in zip(plans, values, strict=True)))

    yield row("processes that put", [str(made.putting.needed) for made in plans])
    yield row("processes of handlers", [str(made.handling.needed) for made in plans])
    if any(made.calling.needed for made in plans):
        yield row("processes that call and serve", [str(made.calling.needed) for made in plans])
    yield row("machines for these", [str(made.machines) for made in plans])
    yield row("queues or partitions", [_parts(made) for made in plans])
    yield row("broker nodes", [_nodes(made) for made in plans])
    yield row("connections", [str(made.connections) for made in plans])
    yield row("channels", [str(made.channels) if made.broker.has_channels else "-" for made in plans])
    yield row("CPU of a put, us", [f"{made.put_us:.1f}" for made in plans])
    if any(made.handling.needed for made in plans):
        yield row("CPU of a handler's event, us", [f"{made.handler_us:.1f}" for made in plans])
    yield row("disk of a broker node, MB/s", [f"{made.disk_bytes / 1e6:.1f}" for made in plans])
    yield row(
        "memory of a process that puts, MB for each second without the broker",
        [f"{made.waiting_bytes / 1e6:.1f}" for made in plans],
    )


def _bytes(size: int) -> str:
    return "1 byte" if size == 1 else f"{size:,} bytes"


def _parts(made: model.Plan) -> str:
    return f"{made.per_handler} for each {made.broker.part_owner}" if made.per_handler else "-"


def _nodes(made: model.Plan) -> str:
    return f"{made.nodes}" + (f" in {made.clusters} clusters" if made.clusters > 1 else "")


def _filled(limit: model.Limit) -> str:
    part = f"{limit.times * 100:.0f}" if limit.times >= 0.01 else "less than 1"
    return f"{part} % of one"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"

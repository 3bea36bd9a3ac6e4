"""`evbus outbox ls`: show the outbox, the process that has it open, and the events for each destination."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict
from typing import Any

from evbus_like.cli import common, console, file, shown
from evbus_like.engine.errors import EvbusError
from evbus_like.engine.outbox.inspect import Summary, summarize
from evbus_like.engine.outbox.lock import holder
from evbus_like.hub.profiles import plan
from evbus_like.hub.secrets import redact

GONE = "gone"


async def run(hub: Any) -> int:
    """Print the overview; return 1 if the named credentials cannot be read."""
    settings = hub.OPT.evbus_like
    path = file.path(hub)
    with file.reading(path):
        there = file.there(path)
        summary = await asyncio.to_thread(summarize, path) if there else Summary(path, holder(path), 0, [])
    known, code = None, 0
    if settings.acct_file and there:
        try:
            known = {item.name: item for item in plan.plan(hub, await common.contexts(hub))}
        except EvbusError as error:
            print(f"evbus outbox ls: profiles are not shown: {redact(str(error))}", file=sys.stderr)
            code = 1
    rows = [{**asdict(share), "profile": _profile(known, share.destination)} for share in summary.shares]
    if settings.json:
        console.document(_document(summary, there, rows))
    elif not there:
        print(file.nothing(path))
    else:
        _print(summary, rows, known is not None)
    return code


def _profile(known: dict[str, plan.Planned] | None, name: str) -> str | None:
    """Return the state of a destination's profile: there, gone or wrong; None if unknown."""
    if known is None:
        return None
    item = known.get(name)
    if item is None or item.unknown:
        return GONE
    return f"wrong: {item.problem}" if item.problem else "there"


def _document(summary: Summary, there: bool, rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "path": str(summary.path),
        "exists": there,
        "file_bytes": summary.file_bytes,
        "holder": summary.holder,
        "waiting": sum(summary.waiting.values()),
        "dead": summary.dead,
        "scheduled": summary.scheduled,
        "first_due": summary.first_due,
        "destinations": rows,
    }


def _print(summary: Summary, rows: list[dict[str, Any]], with_profiles: bool) -> None:
    pid = summary.holder
    print(f"outbox:  {summary.path}")
    print(f"size:    {shown.size(summary.file_bytes)}")
    print(f"open in: {'no process' if pid is None else f'process {pid}' if pid else 'an unknown process'}")
    if summary.scheduled:
        first = f"the first at {shown.moment(summary.first_due or 0.0)}"
        print(f"later:   {shown.many(summary.scheduled, 'event')}, {first} (evbus outbox scheduled)")
    if not rows:
        print("no waiting events, no dead letters")
        return
    columns = ["destination", "waiting", "size", "oldest", "given up"] + ["profile"] * with_profiles
    cells = [_cells(row) + [row["profile"]] * with_profiles for row in rows]
    waiting = sum(summary.waiting.values())
    console.table(f"{waiting} to be delivered, {summary.dead} given up (evbus dead ls)", columns, cells)
    if any(row["profile"] == GONE and row["waiting"] for row in rows):
        print("gone: no profile has that name; its events are kept until one has it again")


def _cells(row: dict[str, Any]) -> list[object]:
    oldest = "" if row["oldest"] is None else shown.age(row["oldest"])
    return [shown.visible(row["destination"]), row["waiting"], shown.size(row["bytes"]), oldest, row["dead"]]

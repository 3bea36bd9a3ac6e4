"""`evbus status`: what running processes do, and why one is not ready."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import Any

from evbus_like.cli import common, console, output, shown
from evbus_like.engine.errors import EvbusError
from evbus_like.hub import monitoring
from evbus_like.hub.profiles import settings
from evbus_like.monitor import ask, folder, merge
from evbus_like.monitor.address import parse
from evbus_like.monitor.document import Status

TIMEOUT = 5.0  # seconds for an answer
EVERY = 1.0  # seconds between two looks
CLEAR = "\x1b[H\x1b[J"  # the top of the screen, and nothing below it


async def run(hub: Any) -> int:
    """Show it once, or every second until a signal; return 0 if all is ready, or was when it was last seen, else 1."""
    watch = bool(hub.OPT.evbus_like.watch)
    code: int | None = None
    async with common.signals() as stopped:
        while True:
            found = await common.unless_stopped(stopped, seen(hub, watch))
            if found is None:
                return 128 + getattr(stopped, "number", 0) if code is None else code
            show(found, bool(hub.OPT.evbus_like.json), watch)
            code = int(not all(each["ready"] for each in found))
            if not watch or output.cannot_be_written():
                return code
            await common.unless_stopped(stopped, asyncio.sleep(EVERY))


async def seen(hub: Any, patient: bool) -> list[Status]:
    """Return what `looked` returns; a `patient` one says once that nothing answers, and looks on."""
    said = ""
    while True:
        try:
            return await looked(hub)
        except ask.NoAnswer as error:
            if not patient:
                raise
            if str(error) != said:
                said = str(error)
                print(f"evbus status: {shown.visible(said)}", file=sys.stderr, flush=True)
        await asyncio.sleep(EVERY)


async def looked(hub: Any) -> list[Status]:
    """Ask the HTTP port of --http, or else every process of this user; raises NoAnswer if none answers."""
    address = settings.config(hub, "http")
    if address:
        return [await ask.by_port(parse(address), settings.config(hub, "http_token"), TIMEOUT)]
    where = monitoring.sockets()
    asked = await asyncio.gather(
        *(ask.by_socket(path, TIMEOUT) for path in folder.sockets(where)), return_exceptions=True
    )
    for each in asked:
        if isinstance(each, BaseException) and not isinstance(each, EvbusError):
            raise each
    found = [each for each in asked if not isinstance(each, BaseException)]
    silent = [str(each) for each in asked if isinstance(each, EvbusError) and "nobody listens" not in str(each)]
    if silent and found:
        found[0]["reasons"] += silent
        found[0]["ready"] = False
    if not found:
        nothing = f"no `evbus run` of user {os.geteuid()} runs on this machine (no socket in {where})"
        hint = "; for an application with an HTTP port: --http PORT"
        raise ask.NoAnswer("; ".join(silent) or nothing + hint)
    return found


def show(found: list[Status], as_json: bool, again: bool) -> None:
    """Print what was found: tables, or a JSON document, in one line if it comes again."""
    if as_json:
        together = merged(found)
        console.line(together) if again else console.document(together)
        return
    if again and output.results().isatty():
        print(CLEAR, end="", file=output.results())
    for each in found:
        table(each)
    output.results().flush()


def merged(found: list[Status]) -> Status:
    """Return one document of all."""
    return {
        "format": found[0]["format"],
        "ready": all(each["ready"] for each in found),
        "reasons": [reason for each in found for reason in each["reasons"]],
        "readers": found[0]["readers"],
        "processes": [process for each in found for process in each["processes"]],
    }


def table(status: Status) -> None:
    """Print one document for people."""
    out = output.results()
    for process in status["processes"]:
        who = f"worker {process['worker']} of " if process["worker"] is not None else ""
        state, up = process["bus"]["state"], shown.age(process["started"])
        print(shown.visible(f"{who}{process['application']}, process {process['pid']}, {state}, up {up}"), file=out)
    print("ready" if status["ready"] else "not ready:", file=out)
    for reason in status["reasons"]:
        print(f"- {shown.visible(reason)}", file=out)
    console.table("Destinations", DESTINATIONS, map(_destination, merge.destinations(status).items()))
    if stores := merge.stores(status):
        console.table("Outbox tables", STORES, map(_store, stores.items()))
    rows = merge.handlers(status)
    if rows:
        console.table("Handlers and services", HANDLERS, map(_handler, rows.items()))
    for process in status["processes"]:
        box = process["bus"]["outbox"]
        if box is not None:
            share = f"{100 * box['bytes'] / box['max_bytes']:.0f} %"
            later = f" {box['scheduled']} not due yet," if box.get("scheduled") else ""
            print(
                f"outbox of {process['pid']}: {sum(box['pending'].values())} events,{later} {box['dead']} dead letters,"
                f" {share} full",
                file=out,
            )


OUTCOMES = ("delivered", "retried", "dropped", "expired", "dead")
DESTINATIONS = ("destination", "state", "waiting", "sending", *OUTCOMES, "oldest")
STORES = ("outbox table", "state", "parts", "waiting", "sending", "delivered", "dead", "oldest")
HANDLERS = ("handler", "state", "lag", "running", "received", "handled", "expired", "failed", "retried", "dead")


def _destination(item: tuple[str, Any]) -> tuple[object, ...]:
    name, row = item
    counts = (row[key] for key in ("waiting", "in_flight", "delivered", "retried"))
    return (
        name,
        row["state"],
        *counts,
        sum(row["dropped"].values()),
        row["expired"],
        row["dead"],
        shown.age(time.time() - row["oldest_age"]),
    )


def _store(item: tuple[str, Any]) -> tuple[object, ...]:
    name, row = item
    counts = (row[key] for key in ("parts", "waiting", "in_lanes", "delivered", "dead"))
    return (name, row["state"], *counts, shown.age(time.time() - row["oldest_age"]) if row["waiting"] else "-")


def _handler(item: tuple[str, Any]) -> tuple[object, ...]:
    name, row = item
    counts = (row[key] for key in ("busy", "received", "handled", "expired", "failed"))
    lag = "-" if row["lag"] is None else row["lag"]
    return (name, row["state"], lag, *counts, row["retried"] + row["requeued"], row["dead"])

"""Events from a file, one JSON object a line: {"type": ..., "body": ...}; what becomes of each is written beside it."""

import asyncio
import json
from pathlib import Path

from evbus_like import plugin

ACCT = ["pigeon"]
OPTIONS = {"path": (str, "the file"), "exchange": (str, "the exchange"), "absent": (bool, "nothing is there")}
REWINDS = True


async def subscribe(hub, ctx, subscription):
    _note(ctx, "subscribe", f"{subscription.queue} {subscription.delivery} {subscription.reliable}")
    if subscription.since is not None:
        _note(ctx, "since", subscription.since)
    if ctx.acct.get("absent"):
        raise OSError("no pigeon has come")
    return {"subscription": subscription, "read": 0}


async def receive(hub, ctx, feed):
    while True:
        lines = _lines(ctx)[feed["read"] :]
        feed["read"] += len(lines)
        events = [_event(json.loads(line), feed) for line in lines]
        if wanted := [event for event in events if feed["subscription"].wants(event.routing_key)]:
            return wanted
        await asyncio.sleep(0.05)


def _lines(ctx):
    return Path(ctx.acct.path).read_text().splitlines()


def _event(line, feed):
    raw = line["raw"].encode() if "raw" in line else json.dumps(line["body"]).encode()
    return plugin.ReceivedEvent(
        raw,
        line["type"],
        feed["subscription"].source,
        line.get("id", "e1"),
        line.get("headers"),
        "application/json",
        1.0,
    )


async def ack(hub, ctx, feed, events):
    for event in events:
        _note(ctx, "ack", event.id)


async def requeue(hub, ctx, feed, event):
    _note(ctx, "requeue", event.id)


async def dead(hub, ctx, feed, event, reason):
    _note(ctx, "dead", event.id)


async def unsubscribe(hub, ctx, feed):
    _note(ctx, "unsubscribe", "")


def _note(ctx, what, which):
    with open(f"{ctx.acct.path}.notes", "a") as notes:
        notes.write(f"{what} {which}\n")

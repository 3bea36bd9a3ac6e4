"""An example of somebody else's plugin: each event becomes a line of the file that its routing key names."""

import asyncio
from pathlib import Path

from evbus_like.errors import PoisonEvent

ACCT = ["shelf"]
OPTIONS = {
    "folder": (str, "where the files are"),
    "file": (str, "the file for all events; without it, the event's routing key names it"),
}


async def publish(hub, ctx, routing_key, body):
    """Append one event; a folder that is not there raises FileNotFoundError, and the bus tries again."""
    name = ctx.acct.get("file") or routing_key
    if "/" in name:
        raise PoisonEvent(f"{name!r} is no file name; use a routing key without a slash")
    await asyncio.to_thread(_append, Path(ctx.acct.folder) / name, body)


def _append(path, body):
    with open(path, "ab") as file:
        file.write(body.hex().encode() + b"\n")


def ping(hub, ctx):
    """Look whether the folder is there."""
    next(Path(ctx.acct.folder).iterdir(), None)

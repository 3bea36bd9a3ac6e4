"""Append events to a file, one JSON object a line.

.. code-block:: yaml

    jsonl:
      default:
        path: /var/log/events.jsonl
"""

import asyncio
import base64
import builtins
import json
import os

from evbus_like import errors

ACCT = ["jsonl"]
OPTIONS = {
    "path": (str, "the file that lines are appended to"),
    "sync": (bool, "true: each batch is on the disk before it counts as delivered"),
}


def validate(hub, ctx):
    """Check the profile without opening anything; raises ProfileError."""
    if not ctx.acct.get("path"):
        raise errors.ProfileError("option path is missing: the file that lines are appended to")


async def open(hub, ctx):
    """Open the file; the first time, and again after every trouble."""
    try:
        ctx.file = await asyncio.to_thread(_appending, ctx.acct["path"])  # never block the event loop
    except PermissionError as error:
        raise errors.DestinationRefused(f"{error.filename}: {error.strerror}; give the user the right") from error


async def publish_batch(hub, ctx, events):
    """Append a batch. An OSError needs no care: it counts as a transient error, and the lane tries again."""
    ctx.file.writelines(_line(event) for event in events)
    ctx.file.flush()
    if ctx.acct.get("sync"):
        os.fsync(ctx.file.fileno())


async def close(hub, ctx):
    """Close the file; may be called when it is not open."""
    file = ctx.pop("file", None)
    if file is not None:
        file.close()


def _appending(path):
    return builtins.open(path, "a", encoding="utf-8")


def _line(event):
    """Give an event as a line; a body that is no text, such as msgpack, goes as base64."""
    try:
        body = {"body": event.body.decode()}
    except UnicodeDecodeError:
        body = {"base64": base64.b64encode(event.body).decode()}
    return json.dumps({"id": event.id, "routing_key": event.routing_key, **body}) + "\n"

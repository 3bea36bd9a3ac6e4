"""Send events to a loft: a server that takes lines of JSON over TCP, and answers each with a line."""

import asyncio
import base64
import json

from evbus_like import errors, plugin

ACCT = ["pigeon"]
OPTIONS = {
    "host": (str, "the address of the loft"),
    "port": (int, "the port of the loft"),
    "password": (str, "the password to log in with"),
    "topic": (str, "the topic of every event; by default its routing key"),
    "ssl": (dict, "TLS: ca_file, cert_file, key_file, password, check_hostname, verify; by default plain TCP"),
}
LANE = {"batch_events": 100}


def validate(hub, ctx):
    """Check the profile without connecting; raises ProfileError."""
    for name in ("host", "port"):
        if name not in ctx.acct:
            raise errors.ProfileError(f"option {name} is missing: {OPTIONS[name][1]}")
    _tls(ctx)


async def open(hub, ctx):
    """Connect and log in. An OSError needs no care: it counts as a TransientError."""
    ctx.reader, ctx.writer = await asyncio.open_connection(ctx.acct.host, ctx.acct.port, ssl=_tls(ctx))
    if await _ask(ctx, {"login": ctx.acct.get("password", "")}) != "ok":
        raise errors.DestinationRefused("the loft refuses the login; correct the option password")


async def publish_batch(hub, ctx, events):
    """Send a batch, then read one answer for each event."""
    for event in events:
        _write(ctx, _message(event, ctx.acct.get("topic") or event.routing_key))
    await ctx.writer.drain()
    return [_outcome(event, await _answer(ctx)) for event in events]


async def ping(hub, ctx):
    """Ask the loft for a sign of life."""
    await _ask(ctx, "ping")


async def close(hub, ctx):
    """Close the connection; open may have failed before there was one."""
    writer = ctx.pop("writer", None)
    if writer is not None:
        writer.close()


def _tls(ctx):
    block = ctx.acct.get("ssl")
    return plugin.tls_context(block) if block else None


def _message(event, topic):
    headers = {name: _plain(value) for name, value in (event.headers or {}).items()}
    body = base64.b64encode(event.body).decode()
    return {"id": event.id, "topic": topic, "type": event.content_type, "headers": headers, "body": body}


def _plain(value):
    return {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def _outcome(event, answer):
    if answer == "ok":
        return None
    if answer == "busy":
        return errors.TransientError("the loft is busy")
    return errors.PoisonEvent(f"the loft has no topic {event.routing_key!r}: {answer}")


async def _ask(ctx, question):
    _write(ctx, question)
    return await _answer(ctx)


def _write(ctx, message):
    ctx.writer.write(json.dumps(message).encode() + b"\n")


async def _answer(ctx):
    line = await ctx.reader.readline()
    if not line.endswith(b"\n"):
        raise ConnectionError("the loft closed the connection")
    return json.loads(line)

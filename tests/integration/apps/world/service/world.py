"""The service world."""

import asyncio
import pathlib

import evbus_like.handlers as evbus


async def hello(hub, name, times=1):
    """Greet somebody.

    As often as wanted.
    """
    return {"said": [f"hello, {name}"] * times}


def shout(hub, text: str) -> str:
    """Give a text in capitals; runs in a thread."""
    return text.upper()


@evbus.method(name="fail", timeout=30.0)
async def raise_(hub):
    error = ValueError("no such thing", 5)
    error.code = 404
    raise error


async def slow(hub):
    """Wait for a file."""
    print("slow has begun", flush=True)
    while not _may_go():  # noqa: ASYNC110 - a file cannot wake us
        await asyncio.sleep(0.02)
    await hub.evbus.broker.put("slow", "done")
    return "done"


def _may_go():
    return pathlib.Path("go").exists()

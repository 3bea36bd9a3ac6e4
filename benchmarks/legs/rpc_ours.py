"""Calls over RabbitMQ, evbus_like: a service in one process, and its caller in this one."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import aio_pika
from calling import measure, ready, serving, until_told
from measure import config
from ours import running

sys.path.insert(0, str(Path(__file__).with_name("plugins")))


async def serve(asked: dict[str, Any]) -> None:
    """Be the server."""
    async with running(profiles(asked)) as hub:
        await hub.evbus.rpc.start()
        await hub.evbus.rpc.join()
        ready()
        await until_told()


async def call(asked: dict[str, Any]) -> None:
    """Be the client."""
    with serving(asked) as server:
        async with running(profiles(asked)) as hub:
            echo = hub.rpc["evbus-bench"].echo
            await measure(asked, server, lambda body: echo(body=body))
    async with await aio_pika.connect(asked["amqp_url"]) as connection:
        await (await connection.channel()).queue_delete("rpc-evbus-bench")


def profiles(asked: dict[str, Any]) -> dict[str, Any]:
    """Give the one profile."""
    return {"amqp": {"default": {"connection": {"url": asked["amqp_url"]}}}}


asked = config()
asyncio.run(serve(asked) if asked.get("serve") else call(asked))

"""Calls over RabbitMQ, aio-pika's pattern RPC: a method in one process, and its caller in this one."""

from __future__ import annotations

import asyncio
from typing import Any

import aio_pika
from aio_pika.patterns import RPC
from calling import measure, ready, serving, until_told
from measure import config


async def echo(*, body: Any) -> Any:
    """Give it back."""
    return body


async def serve(asked: dict[str, Any]) -> None:
    """Be the server."""
    async with await aio_pika.connect(asked["amqp_url"]) as connection:
        rpc = await RPC.create(await connection.channel())
        await rpc.register("bench-aio-pika", echo, auto_delete=True)
        ready()
        await until_told()


async def call(asked: dict[str, Any]) -> None:
    """Be the client."""
    with serving(asked) as server:
        async with await aio_pika.connect(asked["amqp_url"]) as connection:
            rpc = await RPC.create(await connection.channel())
            await measure(asked, server, lambda body: rpc.call("bench-aio-pika", {"body": body}))


asked = config()
asyncio.run(serve(asked) if asked.get("serve") else call(asked))

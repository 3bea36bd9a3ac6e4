"""Calls over RabbitMQ, FastStream: a subscriber in one process, and `broker.request` in this one."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from calling import measure, ready, serving, until_told
from faststream.rabbit import RabbitBroker, RabbitQueue
from measure import config

QUEUE = RabbitQueue("bench-faststream", auto_delete=True)


def broker(asked: dict[str, Any]) -> RabbitBroker:
    """Give a broker that logs nothing."""
    return RabbitBroker(asked["amqp_url"], logger=None, log_level=logging.CRITICAL)


async def serve(asked: dict[str, Any]) -> None:
    """Be the server."""
    own = broker(asked)

    @own.subscriber(QUEUE)
    async def echo(body: dict[str, Any]) -> dict[str, Any]:
        return body

    await own.start()
    ready()
    await until_told()
    await own.stop()


async def call(asked: dict[str, Any]) -> None:
    """Be the client."""
    with serving(asked) as server:
        own = broker(asked)
        await own.start()

        async def request(body: Any) -> Any:
            return await (await own.request(body, queue=QUEUE, timeout=30.0)).decode()

        await measure(asked, server, request)
        await own.stop()


asked = config()
asyncio.run(serve(asked) if asked.get("serve") else call(asked))

"""Closing aiokafka's clients: in bounded time, and so that none of their tasks goes on afterwards."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from time import monotonic
from typing import Any

from evbus_like.kafka import internals

CLOSE_WAIT = 3.0  # seconds; aiokafka's own stop never returns while the broker is down


def silence(producer: Any) -> None:
    """Stop a producer from sending more; a request that is on its way is still sent."""
    sender = internals.sender_of(producer)
    if sender is not None:
        sender.cancel()


async def close(producer: Any, flush: bool) -> None:
    """Stop a producer; with `flush` it may send what it holds, without it was silenced before."""
    try:
        if flush:
            if await _stopped(producer):
                return
            silence(producer)
        await _disconnect(producer)
    except asyncio.CancelledError:
        silence(producer)
        for connection in internals.connections_of(producer.client):
            connection.close()
        raise


async def _stopped(producer: Any) -> bool:
    await _finish_metadata_update(producer.client, CLOSE_WAIT / 3)
    try:
        async with asyncio.timeout(CLOSE_WAIT):
            await producer.stop()
    except Exception:
        return False
    return True


async def _disconnect(producer: Any) -> None:
    """Close the connections, which ends their requests, and so the task that sends."""
    await _finish_metadata_update(producer.client, CLOSE_WAIT / 10)
    with suppress(Exception):  # no broker answers
        async with asyncio.timeout(CLOSE_WAIT):
            await producer.client.close()
    sender = internals.sender_of(producer)
    deadline = monotonic() + CLOSE_WAIT
    while sender is not None and not sender.done() and monotonic() < deadline:
        update = internals.metadata_update_of(producer.client)
        if update is not None:
            update.cancel()  # the last tasks of the sender wait for it, and no broker answers
        await asyncio.wait([sender], timeout=0.1)
    internals.mark_closed(producer)


async def _finish_metadata_update(client: Any, within: float) -> None:
    """Let a look-up of metadata end: aiokafka leaks the socket of a connection that is cancelled while it is made."""
    update = internals.metadata_update_of(client)
    if update is not None and not update.done():
        await asyncio.wait([update], timeout=within)


async def leave(consumer: Any) -> None:
    """Stop a consumer: it leaves its group if a broker answers, and its tasks and connections end in any case."""
    client = internals.client_of(consumer)
    await _finish_metadata_update(client, CLOSE_WAIT / 3)
    # A task of its own, because stop() may raise the CancelledError of one of aiokafka's tasks.
    stopping = asyncio.create_task(consumer.stop(), name="evbus_like leave")
    try:
        await asyncio.wait([stopping], timeout=CLOSE_WAIT)
    finally:
        left = [stopping, *internals.tasks_of(consumer)]
        for task in left:
            task.cancel()
        for connection in internals.connections_of(client):
            connection.close()
        internals.mark_closed(consumer)
    if await _any_failed(left):
        last = asyncio.create_task(client.close(), name="evbus_like close client")
        await asyncio.wait([last], timeout=CLOSE_WAIT)
        last.cancel()
        await _any_failed([last])


async def _any_failed(tasks: list[asyncio.Task[Any]]) -> bool:
    """Wait for cancelled tasks; gives whether one failed, and retrieves every exception."""
    await asyncio.wait(tasks, timeout=CLOSE_WAIT)
    failed = [not task.done() or task.cancelled() or task.exception() is not None for task in tasks]
    return any(failed)

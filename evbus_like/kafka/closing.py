"""Closing the clients of aiokafka: in bounded time, and so that none acts behind the back of the next one."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any

CLOSE_WAIT = 3.0  # seconds; aiokafka's own stop waits for ever while the broker is down
COORDINATION = ("_coordination_task", "_heartbeat_task", "_commit_refresh_task", "_reset_committed_task")


def silence(producer: Any) -> None:
    """Let a producer hand nothing more to its connections; what a broker is being sent is still sent."""
    sender = getattr(getattr(producer, "_sender", None), "sender_task", None)
    if sender is not None:
        sender.cancel()


async def close(producer: Any, flush: bool) -> None:
    """Stop a producer; with `flush`, what it still holds is given a last chance, else it was silenced before."""
    try:
        if flush:
            if await _stopped(producer):
                return
            silence(producer)
        await _hang_up(producer)
    except asyncio.CancelledError:
        silence(producer)
        for connection in list(getattr(producer.client, "_conns", {}).values()):
            connection.close()
        raise


async def _stopped(producer: Any) -> bool:
    await _looked_up(producer.client, CLOSE_WAIT / 3)
    try:
        async with asyncio.timeout(CLOSE_WAIT):
            await producer.stop()
    except Exception:
        return False
    return True


async def _hang_up(producer: Any) -> None:
    """Close the connections, which ends the requests on them, and with these the sender."""
    await _looked_up(producer.client, CLOSE_WAIT / 10)
    try:
        async with asyncio.timeout(CLOSE_WAIT):
            await producer.client.close()
    except Exception:
        pass  # nobody answers at the other end
    sender = getattr(getattr(producer, "_sender", None), "sender_task", None)
    deadline = monotonic() + CLOSE_WAIT
    while sender is not None and not sender.done() and monotonic() < deadline:
        looking_up = getattr(producer.client, "_md_update_fut", None)
        if looking_up is not None:
            looking_up.cancel()  # the sender's last tasks wait for it, and nobody is there to answer
        await asyncio.wait([sender], timeout=0.1)
    producer._closed = True  # else it complains when it is thrown away


async def _looked_up(client: Any, within: float) -> None:
    """Let a look-up of metadata end: aiokafka leaks the socket of a connection that is cancelled while it is made."""
    looking_up = getattr(client, "_md_update_fut", None)
    if looking_up is not None and not looking_up.done():
        await asyncio.wait([looking_up], timeout=within)


async def leave(consumer: Any) -> None:
    """Stop a consumer: it leaves its group where somebody answers, and its tasks and connections end in any case."""
    client = consumer._client
    await _looked_up(client, CLOSE_WAIT / 3)
    # In a task of its own: it may end in a CancelledError that is not ours, of a task of aiokafka that was cancelled.
    stopping = asyncio.create_task(consumer.stop(), name="evbus_like leave")
    try:
        await asyncio.wait([stopping], timeout=CLOSE_WAIT)
    finally:
        left = [stopping, *_tasks(consumer)]
        for task in left:
            task.cancel()
        for connection in list(getattr(client, "_conns", {}).values()):
            connection.close()
        consumer._closed = True
    if await _failed(left):
        last = asyncio.create_task(client.close(), name="evbus_like hang up")
        await asyncio.wait([last], timeout=CLOSE_WAIT)
        last.cancel()
        await _failed([last])


def _tasks(consumer: Any) -> list[asyncio.Task[Any]]:
    found = [getattr(consumer._coordinator, name, None) for name in COORDINATION]
    found += [getattr(consumer._fetcher, "_fetch_task", None), *getattr(consumer._fetcher, "_pending_tasks", ())]
    return [task for task in found if task is not None]


async def _failed(tasks: list[asyncio.Task[Any]]) -> bool:
    """Wait for tasks that were cancelled; whether one did not simply end. Nobody complains of it later."""
    await asyncio.wait(tasks, timeout=CLOSE_WAIT)
    ends = [not task.done() or task.cancelled() or task.exception() is not None for task in tasks]  # each is looked at
    return any(ends)

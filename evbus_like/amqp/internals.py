"""What is used of aio-pika and aiormq beyond their documentation, checked when a connection and a channel open.

All names are public, but undocumented. A release without one of them is refused with a clear error.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from importlib.metadata import version
from typing import Any

import aio_pika
from aiormq.abc import ChannelFrame
from aiormq.connection import TransportFactory

from evbus_like.amqp.settings import Target
from evbus_like.engine.errors import DestinationRefused

SUPPORTED = "aio-pika 10 and aiormq 7"
CONNECTION = ("channel", "closing", "write_queue")
CHANNEL = ("closing", "consumers", "lock", "max_content_size", "number", "on_consumer_cancel_callbacks", "rpc")


def make_connection(target: Target, properties: Mapping[str, Any], transport: TransportFactory) -> aio_pika.Connection:
    """Make a connection, not open yet, whose stream the factory makes; aio-pika has no parameter for that."""
    connection = aio_pika.Connection(target.url, ssl_context=target.context, client_properties=dict(properties))
    if not isinstance(getattr(connection, "kwargs", None), dict):
        raise _unsupported(connection, ("kwargs",))
    connection.kwargs["transport_factory"] = transport
    return connection


def transport_of(connection: aio_pika.Connection) -> Any:
    """Return aiormq's connection below an open one of aio-pika; raises DestinationRefused."""
    found = getattr(connection.transport, "connection", None)
    if found is None:
        raise _unsupported(connection, ("transport.connection",))
    _check(found, CONNECTION)
    return found


async def open_channel(connection: Any, confirms: bool) -> Any:
    """Open a channel on aiormq's connection; raises DestinationRefused and what aiormq raises."""
    channel = await connection.channel(publisher_confirms=confirms)
    _check(channel, CHANNEL)
    return channel


def _check(found: Any, names: Collection[str]) -> None:
    missing = [name for name in names if not hasattr(type(found), name) and name not in getattr(found, "__dict__", ())]
    if missing:
        raise _unsupported(found, missing)


def _unsupported(found: Any, missing: Collection[str]) -> DestinationRefused:
    return DestinationRefused(
        f"aio-pika {version('aio-pika')} with aiormq {version('aiormq')} is not supported, its {type(found).__name__}"
        f" has no {', '.join(missing)}: install {SUPPORTED}"
    )


async def write(connection: Any, frames: bytes) -> None:
    """Write encoded frames in one piece."""
    await connection.write_queue.put(ChannelFrame(frames, should_close=False, drain_future=None))


def add_consumer(channel: Any) -> str:
    """Register a consumer, so that aiormq confirms its cancellation; the frame tap takes all that is delivered."""
    tag = uuid.uuid4().hex
    channel.consumers[tag] = None
    return tag

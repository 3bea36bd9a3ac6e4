"""Connects to one of the hosts; a shared connection is made when it is first needed, and again after a loss."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from evbus_like.amqp.connection import Channel, Connection
from evbus_like.amqp.hosts import Hosts
from evbus_like.amqp.settings import Target
from evbus_like.engine.errors import Blocked


async def connect(
    hosts: Hosts, properties: Mapping[str, Any], on_blocked: Callable[[str | None], None] | None = None
) -> Connection:
    """Connect to the host that answers first; raises a DeliveryError."""

    async def open_one(target: Target) -> Connection:
        connection = Connection(target, on_blocked)
        await connection.open(properties)
        return connection

    return await hosts.connect(open_one)


async def check_each(hosts: Hosts, properties: Mapping[str, Any]) -> None:
    """Connect to each host and disconnect; raises a DeliveryError that names those that fail."""

    async def check(target: Target) -> None:
        connection = Connection(target)
        await connection.open(properties)
        await connection.close()

    await hosts.each(check)


class SharedConnection:
    """A connection for several users, which is made when one needs it, and again after a loss."""

    def __init__(self, hosts: Hosts, properties: Mapping[str, Any]) -> None:
        self.hosts = hosts
        self._properties = dict(properties)
        self._connection: Connection | None = None
        self._opening: asyncio.Task[Connection] | None = None
        self._place = hosts.place

    @property
    def place(self) -> str:
        """Where it leads, or led when it was open."""
        return self._place

    def check_blocked(self) -> None:
        """Raise Blocked while RabbitMQ's alarm is on: it reads nothing that the connection sends."""
        if self._connection is not None and self._connection.usable and (why := self._connection.blocked):
            raise Blocked(why)

    def is_blocked(self) -> bool:
        """Whether the connection is open, and RabbitMQ's alarm is on."""
        return self._connection is not None and self._connection.usable and bool(self._connection.blocked)

    def another(self) -> SharedConnection:
        """Return one like this, not open."""
        return SharedConnection(self.hosts, self._properties)

    async def get(self) -> Connection:
        """Return the open connection, or open one; raises a DeliveryError.

        Those that call it meanwhile wait for the same attempt.
        """
        if self._connection is not None and self._connection.usable:
            return self._connection
        if self._opening is None:
            self._opening = asyncio.create_task(self._open(), name=f"evbus_like connect {self.hosts.place}")
            self._opening.add_done_callback(self._opened)
        return await asyncio.shield(self._opening)

    def _opened(self, opening: asyncio.Task[Connection]) -> None:
        self._opening = None
        if not opening.cancelled():
            opening.exception()  # those that waited may have been cancelled

    async def _open(self) -> Connection:
        old, self._connection = self._connection, None
        if old is not None:
            await old.close()
        self._place = self.hosts.place
        made = self._connection = await connect(self.hosts, self._properties)
        self._place = made.target.place
        return made

    @asynccontextmanager
    async def channel(self, confirms: bool = False) -> AsyncIterator[Channel]:
        """Open a channel, which is closed if the block raises."""
        connection = await self.get()
        async with connection.channel(confirms) as channel:
            yield channel

    async def close(self) -> None:
        """Close the connection, if there is one."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

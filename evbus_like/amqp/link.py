"""A link: a connection to RabbitMQ that several may use, made when somebody first needs it and after a loss."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiormq

from evbus_like.amqp import batch, failures
from evbus_like.amqp.connect import Target
from evbus_like.amqp.tap import Sink, Tapped
from evbus_like.engine.errors import TransientError

CLOSE_TIMEOUT = 5.0  # seconds; a broker that does not answer is hung up on

# At DEBUG it logs frames, with messages and passwords in them.
logging.getLogger("aiormq").setLevel(max(logging.INFO, logging.getLogger("aiormq").level))

Lost = Callable[[BaseException | None], None]


class Line:
    """One connection while it lasts; `lost` are called when it is lost, at once and not when a heartbeat fails."""

    def __init__(self, target: Target) -> None:
        self.lost: set[Lost] = set()
        self.broken = False
        self.tapped = Tapped(target.context, self._break)
        self.connection: Any = None

    def _break(self, error: BaseException | None) -> None:
        if not self.broken:
            self.broken = True
            for tell in list(self.lost):
                tell(error)

    @property
    def usable(self) -> bool:
        """Whether it is open, as far as can be known without asking RabbitMQ."""
        return not self.broken and self.connection is not None and not self.connection.is_closed

    async def close(self) -> None:
        """Say goodbye, and hang up."""
        self.broken = True
        with suppress(Exception):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self.connection.close()
        self.abort()

    def abort(self) -> None:
        """Hang up: RabbitMQ takes back what was not settled."""
        self._break(None)
        if self.tapped.writer is not None:
            self.tapped.writer.transport.abort()


class Link:
    """The connection of a profile to `target`. Without `taps` messages come through aiormq's public interface."""

    def __init__(self, target: Target, properties: Mapping[str, Any], taps: bool = True) -> None:
        self.target = target
        self._properties = dict(properties)
        self._taps = taps
        self._line: Line | None = None
        self._opening: asyncio.Task[Line] | None = None

    async def line(self) -> Line:
        """Give the open connection, making one where there is none; raises a DeliveryError.

        All who ask meanwhile wait for the same try.
        """
        if self._line is not None and self._line.usable:
            return self._line
        if self._opening is None:
            self._opening = asyncio.create_task(self._open(), name=f"evbus_like connect {self.target.place}")
            self._opening.add_done_callback(self._opened)
        return await asyncio.shield(self._opening)

    def _opened(self, opening: asyncio.Task[Line]) -> None:
        self._opening = None
        if not opening.cancelled():
            opening.exception()  # whoever asked may have gone

    async def _open(self) -> Line:
        old, self._line = self._line, None
        if old is not None:
            await old.close()
        line, where = Line(self.target), self.target
        try:
            async with asyncio.timeout(where.timeout):
                line.connection = aiormq.Connection(
                    where.url, transport_factory=line.tapped, client_properties=self._properties
                )
                await line.connection.connect()
        except Exception as error:
            raise failures.connecting(error, where.place, where.user) from error
        self._line = line
        return line

    @asynccontextmanager
    async def channel(self, confirms: bool = False) -> AsyncIterator[tuple[Line, Any]]:
        """Give the connection and a new channel of it, which is closed if what follows fails."""
        line = await self.line()
        channel = await line.connection.channel(publisher_confirms=confirms)
        try:
            yield line, channel
        except BaseException:
            await self.close_channel(line, channel)
            raise

    def tap(self, line: Line, channel: Any, sink: Sink) -> bool:
        """Have a channel's messages go to the sink; False where this aiormq, or the profile, lets none be tapped."""
        if not (self._taps and line.tapped.tap is not None and batch.usable(channel)):
            return False
        line.tapped.tap.sinks[channel.number] = sink
        return True

    async def close_channel(self, line: Line, channel: Any) -> None:
        """Close a channel; where RabbitMQ does not answer, hang up, for what it has delivered must go back."""
        try:
            if line.usable and not channel.is_closed:
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    await channel.close()
        except TimeoutError:
            line.abort()
        except Exception as error:
            if line.usable:
                line.abort()
                raise TransientError(f"closing a channel: {error}") from error
        finally:
            if line.tapped.tap is not None:
                line.tapped.tap.sinks.pop(channel.number, None)

    async def close(self) -> None:
        """Close the connection, if there is one."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        line, self._line = self._line, None
        if line is not None:
            await line.close()

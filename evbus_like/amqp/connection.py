"""Connections to RabbitMQ and their channels."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import aio_pika

from evbus_like.amqp import failures, internals
from evbus_like.amqp.codec import read_shortstr
from evbus_like.amqp.frame_tap import Lost, Sink, TappedTransport
from evbus_like.amqp.hosts import host_of
from evbus_like.amqp.settings import Target
from evbus_like.engine.errors import TransientError

CLOSE_TIMEOUT = 5.0  # seconds that a broker has to answer; then the connection is cut
UNLIMITED = 131_064  # bytes in a frame, where RabbitMQ has no limit
MOST = 2**27  # bytes in a frame that are taken even if nothing was negotiated
CLOSE, BLOCKED, UNBLOCKED = b"\x00\x0a\x00\x32", b"\x00\x0a\x00\x3c", b"\x00\x0a\x00\x3d"
TUNE = b"\x00\x0a\x00\x1e"
# Reply codes of the AMQP 0-9-1 specification, 1.2, by which RabbitMQ answers what it cannot read: frame-error,
# syntax-error, command-invalid, channel-error, unexpected-frame, not-implemented and internal-error.
FAULTS = (501, 502, 503, 504, 505, 540, 541)

# At DEBUG these log frames, with messages and passwords in them.
for _name in ("aio_pika", "aiormq"):
    logging.getLogger(_name).setLevel(max(logging.INFO, logging.getLogger(_name).level))


class _Seldom(logging.Filter):
    """Passes one of aiormq's lines about blocked connections a minute: an alarm may flap, and the lanes log it."""

    def __init__(self) -> None:
        super().__init__()
        self._passed = -60.0

    def filter(self, record: logging.LogRecord) -> bool:
        """Pass a line, or not."""
        if "blocked" not in str(record.msg):
            return True
        if record.created - self._passed < 60.0:
            return False
        self._passed = record.created
        return True


logging.getLogger("aiormq.connection").addFilter(_Seldom())


class ControlFrames:
    """Reads what RabbitMQ says about the connection: why it closes it, and its alarms, which aiormq only logs.

    RabbitMQ 3 sends connection.blocked when a connection publishes during the alarm: one batch is under way by then,
    and is read and confirmed when the alarm is over.
    """

    def __init__(self, on_blocked: Callable[[str | None], None] | None = None) -> None:
        self.close_code, self.close_reason = 0, ""
        self.blocked_reason = ""
        self._on_blocked = on_blocked
        self.largest = UNLIMITED  # bytes of payload that a frame may have

    def method(self, payload: bytes) -> bool:
        """Note a method that matters here; all go on to aiormq."""
        kind = payload[:4]
        if kind == CLOSE:
            self.close_code = int.from_bytes(payload[4:6], "big")
            self.close_reason = read_shortstr(payload, 6)[0]
        elif kind == TUNE:
            self.largest = int.from_bytes(payload[6:10], "big") - 8 if any(payload[6:10]) else MOST
        elif kind == BLOCKED:
            self.blocked(read_shortstr(payload, 4)[0])
        elif kind == UNBLOCKED:
            self.blocked(None)
        return False

    def blocked(self, reason: str | None) -> None:
        """Report a block with RabbitMQ's reason, and None when it is over or the connection is lost."""
        self.blocked_reason = reason or ""
        if self._on_blocked is not None:
            self._on_blocked(reason)

    def header(self, payload: bytes) -> bool:
        """Leave it to aiormq."""
        return False

    def body(self, payload: bytes) -> bool:
        """Leave it to aiormq."""
        return False


class Channel:
    """One channel of a connection; `number` and `max_body` (bytes of body in a frame) are for encoding."""

    def __init__(self, connection: Connection, channel: Any) -> None:
        self.connection = connection
        self.aiormq = channel
        self.number: int = channel.number
        self.max_body: int = channel.max_content_size if channel.max_content_size > 0 else UNLIMITED

    @property
    def is_open(self) -> bool:
        """Whether it is open, as far as can be known without asking RabbitMQ."""
        return self.connection.usable and not self.aiormq.is_closed

    def tap(self, sink: Sink) -> None:
        """Let a sink take the frames of this channel."""
        self.connection.sinks[self.number] = sink

    def on_lost(self, lost: Lost) -> Callable[[], None]:
        """Call `lost` once when the channel or its connection is lost; returns a function that takes this back."""
        listeners = self.connection.lost

        def once(error: BaseException | None) -> None:
            if once in listeners:
                listeners.discard(once)
                lost(error)

        def closed(closing: asyncio.Future[Any]) -> None:
            once(None if closing.cancelled() else closing.exception())

        listeners.add(once)
        self.aiormq.closing.add_done_callback(closed)
        return lambda: listeners.discard(once)

    async def write(self, frames: bytes) -> None:
        """Write encoded frames in one piece."""
        await internals.write(self.aiormq, frames)

    def write_now(self, frames: bytes) -> None:
        """Write encoded frames behind those that were written before, without waiting.

        aiormq's queue of frames would not do: frames that wait for room in it are overtaken. The caller bounds what it
        writes.
        """
        self.connection.write_now(frames)

    async def close(self) -> None:
        """Close it. If RabbitMQ does not answer, cut the connection, so that unsettled deliveries return to the queue.

        Raises TransientError.
        """
        connection = self.connection
        try:
            if self.is_open:
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    await self.aiormq.close()
        except TimeoutError:
            connection.abort()
        except Exception as error:
            if connection.usable:
                connection.abort()
                raise TransientError(f"closing a channel: {error}") from error
        finally:
            connection.sinks.pop(self.number, None)


class Connection:
    """One connection while it lasts. `lost` are called as soon as its stream ends, not when a heartbeat is missing."""

    def __init__(self, target: Target, on_blocked: Callable[[str | None], None] | None = None) -> None:
        self.target = target
        self.lost: set[Lost] = set()
        self.aio_pika: aio_pika.Connection | None = None
        self._broken = self._closing = self._opened = False
        self._host = host_of(target)
        self._control = ControlFrames(on_blocked)
        control = self._control
        self._transport = TappedTransport(target, self._break, control, lambda: control.largest)
        self._aiormq: Any = None

    async def open(self, properties: Mapping[str, Any]) -> None:
        """Connect; raises a DeliveryError."""
        where = self.target
        try:
            self.aio_pika = internals.make_connection(where, properties, self._transport)
            async with asyncio.timeout(where.timeout):
                await self.aio_pika.connect()
            self._aiormq = internals.transport_of(self.aio_pika)
            self._opened = True
            self._host.opened()
        except BaseException as error:
            await self.close()
            if isinstance(error, Exception):
                self._host.failed()
                raise failures.connecting(error, where.place, where.user, self._control.close_reason) from error
            raise

    @property
    def sinks(self) -> dict[int, Sink]:
        """The sinks of its channels, by their numbers."""
        assert self._transport.tap is not None, "the connection is not open"
        return self._transport.tap.sinks

    def _break(self, error: BaseException | None) -> None:
        if not self._broken:
            self._broken = True
            self._control.blocked(None)
            if self._opened:
                self._host.closed()
                if not self._closing:
                    self._host.failed()
            for lost in list(self.lost):
                lost(error)

    @property
    def fault(self) -> str:
        """Why RabbitMQ closed the connection, if that was for something that this client sent; otherwise empty."""
        return self._control.close_reason if self._control.close_code in FAULTS else ""

    @property
    def blocked(self) -> str:
        """Why RabbitMQ reads nothing that this connection sends, if its alarm is on."""
        reason = self._control.blocked_reason
        return failures.blocked(reason, self.target.place) if reason else ""

    @property
    def closed(self) -> failures.Closed | None:
        """Why RabbitMQ closed it, if it said so."""
        control = self._control
        return failures.Closed(control.close_code, control.close_reason) if control.close_code else None

    @property
    def usable(self) -> bool:
        """Whether it is open, as far as can be known without asking RabbitMQ."""
        return not self._broken and self._aiormq is not None and not self._aiormq.is_closed

    def write_now(self, frames: bytes) -> None:
        """Hand encoded frames to the stream; they are sent in this order."""
        assert self._transport.writer is not None, "the connection is not open"
        self._transport.writer.write(frames)

    @asynccontextmanager
    async def channel(self, confirms: bool = False) -> AsyncIterator[Channel]:
        """Open a channel, which is closed if the block raises."""
        channel = Channel(self, await internals.open_channel(self._aiormq, confirms))
        try:
            yield channel
        except BaseException:
            await channel.close()
            raise

    async def close(self, within: float = CLOSE_TIMEOUT) -> None:
        """Close the connection, and cut it if RabbitMQ does not answer within so many seconds."""
        answered = not self.usable
        self._closing = True
        try:
            if self.aio_pika is not None:
                with suppress(Exception):
                    async with asyncio.timeout(within):
                        await self.aio_pika.close()
                        answered = True
        finally:
            if not answered:
                self._host.failed()
            self.abort()

    def break_off(self, why: str) -> None:
        """Cut it, because RabbitMQ broke the protocol."""
        assert self._transport.tap is not None, "the connection is not open"
        self._transport.tap.break_off(why)

    def abort(self) -> None:
        """Cut it: RabbitMQ takes unsettled deliveries back."""
        self._break(None)
        if self._transport.writer is not None:
            self._transport.writer.transport.abort()

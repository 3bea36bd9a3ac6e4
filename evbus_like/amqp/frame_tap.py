"""The frame tap: takes frames off the stream of a connection before aiormq decodes them; all others go on to aiormq.

aiormq makes a dozen objects and a task for each message. It also closes the connection when it cannot decode a
message's properties; RabbitMQ would then send that message again, forever. The tap uses only what is public in aiormq:
a transport factory, which gives the connection its stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from struct import Struct
from typing import Any, Protocol

from aiormq.connection import TransportFactory
from aiormq.exceptions import AMQPConnectionError

from evbus_like.amqp.codec import BODY, HEADER, HEARTBEAT, METHOD
from evbus_like.amqp.settings import Target

HEARTBEAT_FRAME = b"\x08\x00\x00\x00\x00\x00\x00\xce"  # for aiormq, which does not see the frames that are taken
HEARTBEAT_EVERY = 1.0  # seconds

_frame = Struct(">BHI").unpack_from

Lost = Callable[[BaseException | None], None]
SMALLEST = 4096 - 8  # bytes of payload that every frame may have (the specification's 4.2.3)
# Headers are not split: RabbitMQ adds some (x-death, x-delivery-count) to what filled a frame, and delivers what was
# published while frames were larger. To disconnect would have it delivered again, for ever.
LARGEST_HEADER = 2**20
UNTUNED = 131072 - 8  # until the broker has said what it sends


def untuned() -> int:
    """Return the limit of a connection whose broker has said nothing."""
    return UNTUNED


class Sink(Protocol):
    """Takes the frames of one channel; each method returns False to leave the frame to aiormq."""

    def method(self, payload: bytes) -> bool:
        """Take a method."""

    def header(self, payload: bytes) -> bool:
        """Take the header of the content that the last method announced."""

    def body(self, payload: bytes) -> bool:
        """Take a piece of that content."""


class FrameTap(asyncio.StreamReader):
    """The stream of one connection. `sinks` take frames, by channel; `lost` is called when the stream ends.

    `limit` returns the largest payload that was negotiated. A larger frame, unless it is of headers, ends the
    connection before it is read.
    """

    def __init__(self, lost: Lost, limit: Callable[[], int] = untuned) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(limit=2**16, loop=loop)
        self.sinks: dict[int, Sink] = {}
        self._lost = lost
        self._rest = b""
        self._foreign = self._broken = False
        self._limit, self._negotiated = SMALLEST, limit
        self._passed_at = 0.0
        self._now = loop.time

    def feed_data(self, data: Any) -> None:
        """Take bytes from the transport; frames that no sink takes go on to aiormq."""
        if self._foreign or self._broken:
            if not self._broken:
                super().feed_data(data)
            return
        data = self._rest + data if self._rest else bytes(data)
        at, end, passed = 0, len(data), 0  # frames before `passed` are done with
        sinks = self.sinks
        while end - at >= 7:
            kind, channel, size = _frame(data, at)
            if kind not in (METHOD, HEADER, BODY, HEARTBEAT):  # not AMQP: aiormq raises a fitting error
                self._foreign = True
                at = end
                break
            if size > self._limit and (kind != HEADER or size > LARGEST_HEADER):
                self._limit = max(SMALLEST, self._negotiated())
                if size > self._limit:
                    self.break_off(f"it sent a frame of {size} bytes, and {self._limit} were negotiated (frame_max)")
                    return
            behind = at + 8 + size
            if behind > end:
                break
            sink = sinks.get(channel)
            if sink is not None and self._taken(sink, kind, data[at + 7 : behind - 1]):
                if passed < at:
                    self._pass(data[passed:at])
                passed = behind
            at = behind
        if passed < at:
            self._pass(data[passed:at])
        elif at and self._now() > self._passed_at + HEARTBEAT_EVERY:
            self._pass(HEARTBEAT_FRAME)
        self._rest = data[at:]

    def break_off(self, why: str) -> None:
        """End the connection, because the broker broke the protocol."""
        error = AMQPConnectionError(f"the broker broke the protocol, and was disconnected: {why}")
        self._broken, self._rest = True, b""
        transport = getattr(self, "_transport", None)
        self.set_exception(error)
        if transport is not None:
            transport.abort()

    def _taken(self, sink: Sink, kind: int, payload: bytes) -> bool:
        if kind == METHOD:
            return sink.method(payload)
        if kind == HEADER:
            return sink.header(payload)
        return kind == BODY and sink.body(payload)

    def _pass(self, frames: bytes) -> None:
        self._passed_at = self._now()
        super().feed_data(frames)

    def feed_eof(self) -> None:
        """Handle the end of the stream."""
        if self._rest and not self._broken:  # the beginning of a frame, or not AMQP
            super().feed_data(self._rest)
        super().feed_eof()
        self._lost(None)

    def set_exception(self, exc: Any) -> None:
        """Handle a broken stream."""
        super().set_exception(exc)
        self._lost(exc)


class TappedTransport(TransportFactory):
    """Opens the stream of a connection with a frame tap; `tap` and `writer` exist once it is open."""

    def __init__(self, target: Target, lost: Lost, control: Sink, limit: Callable[[], int] = untuned) -> None:
        self._target = target
        self._limit = limit
        self._lost = lost
        self._control = control  # takes the frames of channel 0, those about the connection
        self.tap: FrameTap | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def create(self, url: Any, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect; called by aiormq."""
        loop = asyncio.get_running_loop()
        tap = FrameTap(self._lost, self._limit)
        tap.sinks[0] = self._control
        protocol = asyncio.StreamReaderProtocol(tap, loop=loop)
        host, context = self._target.address or url.host, self._target.context
        name = url.host if context is not None else None  # that of the certificate
        try:
            transport, _ = await loop.create_connection(
                lambda: protocol, host, url.port, ssl=context, server_hostname=name
            )
        except OSError as error:
            raise AMQPConnectionError(*error.args) from error
        self.tap, self.writer = tap, asyncio.StreamWriter(transport, protocol, tap, loop)
        return tap, self.writer

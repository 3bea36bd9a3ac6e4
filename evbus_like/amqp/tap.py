"""A tap: takes messages off the stream of a connection before aiormq decodes them, and leaves it all other frames.

aiormq makes a dozen objects and a task for each message, and gives the whole connection up for a message whose
properties it cannot decode, which RabbitMQ would then send again, for ever. What is used of aiormq is public: a
transport factory, which gives the connection its stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from struct import Struct
from typing import Any, Protocol

from aiormq.connection import TransportFactory
from aiormq.exceptions import AMQPConnectionError

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
SIGN_OF_LIFE = b"\x08\x00\x00\x00\x00\x00\x00\xce"  # a heartbeat, for aiormq, which sees nothing of what is taken
SIGN_EVERY = 1.0  # seconds

_frame = Struct(">BHI").unpack_from


class Sink(Protocol):
    """Takes the frames of one channel."""

    def method(self, payload: bytes) -> bool:
        """Take a method, or give False to leave it to aiormq."""

    def header(self, payload: bytes) -> bool:
        """Take the header of the content that the last method announced; False as above."""

    def body(self, payload: bytes) -> bool:
        """Take a piece of that content; False as above."""


class Tap(asyncio.StreamReader):
    """The stream of one connection. `sinks` take frames, by their channels; `lost` is called when the stream ends."""

    def __init__(self, lost: Callable[[BaseException | None], None]) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(limit=2**16, loop=loop)
        self.sinks: dict[int, Sink] = {}
        self._lost = lost
        self._rest = b""
        self._foreign = False
        self._signed = 0.0
        self._now = loop.time

    def feed_data(self, data: Any) -> None:
        """Take bytes from the transport; frames that nobody here wants go on to whoever reads."""
        if self._foreign:
            super().feed_data(data)
            return
        data = self._rest + data if self._rest else bytes(data)
        at, end, passed = 0, len(data), 0  # `passed` is where the frames begin that have not gone on yet
        sinks = self.sinks
        while end - at >= 7:
            kind, channel, size = _frame(data, at)
            if kind not in (METHOD, HEADER, BODY, HEARTBEAT):  # no AMQP any more: aiormq finds the words for it
                self._foreign = True
                at = end
                break
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
        elif at and self._now() > self._signed + SIGN_EVERY:
            self._pass(SIGN_OF_LIFE)
        self._rest = data[at:]

    def _taken(self, sink: Sink, kind: int, payload: bytes) -> bool:
        if kind == METHOD:
            return sink.method(payload)
        if kind == HEADER:
            return sink.header(payload)
        return kind == BODY and sink.body(payload)

    def _pass(self, frames: bytes) -> None:
        self._signed = self._now()
        super().feed_data(frames)

    def feed_eof(self) -> None:
        """Note the end of the stream."""
        if self._rest:  # the beginning of a frame, or no AMQP at all
            super().feed_data(self._rest)
        super().feed_eof()
        self._lost(None)

    def set_exception(self, exc: Any) -> None:
        """Note that the stream broke."""
        super().set_exception(exc)
        self._lost(exc)


class Tapped(TransportFactory):
    """Makes a connection's stream a tap; `tap` and `writer` are there when it is made."""

    def __init__(self, context: Any, lost: Callable[[BaseException | None], None]) -> None:
        self._context = context
        self._lost = lost
        self.tap: Tap | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def create(self, url: Any, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect; aiormq calls it."""
        loop = asyncio.get_running_loop()
        tap = Tap(self._lost)
        protocol = asyncio.StreamReaderProtocol(tap, loop=loop)
        try:
            transport, _ = await loop.create_connection(lambda: protocol, url.host, url.port, ssl=self._context)
        except OSError as error:
            raise AMQPConnectionError(*error.args) from error
        self.tap, self.writer = tap, asyncio.StreamWriter(transport, protocol, tap, loop)
        return tap, self.writer

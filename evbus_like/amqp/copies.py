"""Copies of messages, for retries and dead letters: confirmed, and returned where no queue takes them.

They go over a connection of their own: while RabbitMQ's alarm blocks one that publishes, it reads no acks from it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import takewhile
from struct import Struct
from typing import Any, Protocol

import aiormq.exceptions as aiormq
from aiormq.abc import ChannelFrame
from pamqp.header import ContentHeader

from evbus_like.amqp import refusals
from evbus_like.amqp.deliveries import Content
from evbus_like.amqp.frames import BASIC, BODY, END, HEADER, METHOD, PUBLISH, shortstr
from evbus_like.amqp.link import Line, Link
from evbus_like.amqp.properties import MESSAGE_ID, Properties
from evbus_like.engine.errors import DeliveryError, DestinationRefused, TransientError, Unroutable

RETURN, ACK, NACK = b"\x00\x3c\x00\x32", b"\x00\x3c\x00\x50", b"\x00\x3c\x00\x78"
MANDATORY = b"\x01"

_frame = Struct(">BHI").pack
_header = Struct(">HHQ").pack
_ids = Struct(">HHH").pack
_tag = Struct(">Q").unpack_from


class Copy:
    """One copy on its way; `done` gets RabbitMQ's answer."""

    id = ""

    def __init__(self, exchange: str, routing_key: str, properties: bytes, body: bytes) -> None:
        self.exchange = exchange
        self.routing_key = routing_key
        self.properties = properties
        self.body = body
        self.returned = False
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def lost(self, error: Exception) -> None:
        """Hear that the channel was lost before RabbitMQ answered."""
        self.settle(error)

    def settle(self, error: Exception | None) -> None:
        """Give the answer to whoever waits for it."""
        if self.done.done():
            return
        if error is not None:
            self.done.set_exception(error)
        elif self.returned:
            where = f"exchange {self.exchange!r}" if self.exchange else "the default exchange"
            self.done.set_exception(
                Unroutable(
                    f"no queue is bound to {where} for routing key {self.routing_key!r}, so RabbitMQ returned it"
                )
            )
        else:
            self.done.set_result(None)

    def frames(self, channel: int, most: int) -> bytes:
        """Encode it for a channel whose frames hold `most` bytes of body."""
        return encoded(channel, most, published(self.exchange, self.routing_key, True), self.properties, self.body)


def published(exchange: str, routing_key: str, mandatory: bool) -> bytes:
    """Encode the method of a publish; raises ValueError for a name of more than 255 bytes."""
    place = shortstr(exchange) + shortstr(routing_key)
    return _ids(BASIC, PUBLISH, 0) + place + (MANDATORY if mandatory else b"\0")


def encoded(channel: int, most: int, method: bytes, properties: bytes, body: bytes) -> bytes:
    """Encode a message for a channel whose frames hold `most` bytes of body."""
    header = _header(BASIC, 0, len(body)) + properties
    frames = [_frame(METHOD, channel, len(method)), method, END, _frame(HEADER, channel, len(header)), header, END]
    for at in range(0, len(body), most):
        piece = body[at : at + most]
        frames += [_frame(BODY, channel, len(piece)), piece, END]
    return b"".join(frames)


class Sent(Protocol):
    """What was published and waits for RabbitMQ's answer; `id` is its message id, where it can be known by that."""

    id: str
    properties: bytes
    body: bytes
    returned: bool

    def settle(self, error: Exception | None) -> None:
        """Hear RabbitMQ's answer."""

    def lost(self, error: Exception) -> None:
        """Hear that there will be none."""


class Answers:
    """The sink of a channel with confirms: RabbitMQ's answers to what was published there, by its numbers."""

    def __init__(self) -> None:
        self.sent = 0
        self.waiting: dict[int, Sent] = {}  # by their numbers, in their order
        self.by_id: dict[str, Sent] = {}  # those that may be returned, by their message ids; who sends them fills it
        self._gone: Exception | None = None
        self._content = Content(self._returned)
        self._returning = False

    def expect(self, copy: Sent) -> None:
        """Note that a copy is published next; raises what the channel was lost by."""
        if self._gone is not None:
            raise self._gone
        self.sent += 1
        self.waiting[self.sent] = copy

    def method(self, payload: bytes) -> bool:
        """Take a return, an ack or a nack."""
        kind = payload[:4]
        if kind == RETURN:
            self._returning = True
            return True
        if kind not in (ACK, NACK):
            return False
        last, multiple = _tag(payload, 4)[0], payload[12] & 1
        error = TransientError("RabbitMQ did not take a copy (basic.nack): its queue may be full")
        numbers = takewhile(lambda number: number <= last, self.waiting) if multiple else (last,)
        for number in list(numbers):
            copy = self.waiting.pop(number, None)
            if copy is not None:
                copy.settle(None if kind == ACK else error)
        return True

    def header(self, payload: bytes) -> bool:
        """Take the header of what is returned."""
        if self._returning:
            self._content.header(payload)
        return True

    def body(self, payload: bytes) -> bool:
        """Take a piece of it."""
        if self._returning:
            self._content.body(payload)
        return True

    def _returned(self, properties: bytes, body: bytes) -> None:
        """Find the copy that came back; of two that are the same in all, either will do."""
        self._returning = False
        id = Properties(properties).text(MESSAGE_ID)
        if id and id in self.by_id:
            self.by_id[id].returned = True
            return
        left = [copy for copy in self.waiting.values() if not copy.returned]
        same = [copy for copy in left if copy.body == body]
        exact = [copy for copy in same if copy.properties == properties]
        for copy in (exact or same or left)[:1]:
            copy.returned = True

    def fail(self, error: Exception) -> None:
        """Give up on all answers."""
        self._gone = error
        waiting, self.waiting = self.waiting, {}
        for copy in waiting.values():
            copy.lost(error)


class Copies:
    """Publishes copies over a link, through one channel that is made when the first is sent, and after a loss."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self._line: Line | None = None
        self._channel: Any = None
        self._tapped = False
        self._answers = Answers()
        self._opening = asyncio.Lock()

    async def send(self, exchange: str, routing_key: str, properties: bytes, body: bytes) -> None:
        """Publish a persistent copy and return when RabbitMQ has it; raises Unroutable and other DeliveryErrors."""
        channel = await self.ready()
        if not self._tapped:
            await self._send_plain(channel, exchange, routing_key, properties, body)
            return
        copy = Copy(exchange, routing_key, properties, body)
        await self.write(channel, [copy], copy.frames(channel.number, channel.max_content_size))
        await copy.done

    async def ready(self) -> Any:
        """Give the open channel, making one where there is none; raises a DeliveryError."""
        async with self._opening:
            if self._channel is None:
                await self._open()
            return self._channel

    @property
    def tapped(self) -> bool:
        """Whether `write` may be used; otherwise the channel is aiormq's alone."""
        return self._tapped

    @property
    def answers(self) -> Answers:
        """What RabbitMQ's answers on the channel go to."""
        return self._answers

    async def write(self, channel: Any, copies: Sequence[Sent], payload: bytes) -> None:
        """Publish in one write, in order; each hears RabbitMQ's answer, or that the channel is lost.

        Raises what the channel was lost by, where nothing was written.
        """
        try:
            async with channel.lock:  # numbers and writes have the same order
                if channel is not self._channel:
                    raise TransientError("the channel was lost before anything was sent")
                for copy in copies:
                    self._answers.expect(copy)
                await channel.write_queue.put(ChannelFrame(payload, should_close=False, drain_future=None))
        except BaseException as error:
            if self._line is not None and channel is self._channel:
                self._line.abort()  # its numbering is in doubt
            if isinstance(error, Exception):
                raise self._failure(error) from error
            raise

    async def _send_plain(self, channel: Any, exchange: str, routing_key: str, properties: bytes, body: bytes) -> None:
        """Publish by aiormq's public interface, one at a time: it knows returned messages by their ids alone."""
        header = ContentHeader()
        header.unmarshal(_header(BASIC, 0, len(body)) + properties)
        async with self._opening:
            try:
                await channel.basic_publish(
                    body, exchange=exchange, routing_key=routing_key, properties=header.properties, mandatory=True
                )
            except aiormq.PublishError as error:
                raise Unroutable(f"no queue took it: {error.frame.reply_text}") from error
            except Exception as error:
                raise self._failure(error) from error

    async def _open(self) -> None:
        answers = Answers()
        try:
            async with self.link.channel(confirms=True) as (line, channel):
                self._tapped = self.link.tap(line, channel, answers)
        except Exception as error:
            raise self._failure(error) from error
        self._line, self._channel, self._answers = line, channel, answers

        def lost(error: BaseException | None) -> None:
            line.lost.discard(lost)
            if self._channel is channel:
                self._channel = None
            answers.fail(self._failure(error))

        line.lost.add(lost)
        channel.closing.add_done_callback(lambda closing: lost(None if closing.cancelled() else closing.exception()))

    def _failure(self, error: BaseException | None) -> DeliveryError:
        if isinstance(error, DeliveryError):
            return error
        place = self.link.target.place
        if isinstance(
            error, (aiormq.ChannelNotFoundEntity, aiormq.ChannelAccessRefused, aiormq.ChannelPreconditionFailed)
        ):
            return DestinationRefused(f"RabbitMQ at {place} refuses a copy: {refusals.words(error)}")
        return refusals.lost(error, place)

    async def close(self) -> None:
        """Close the connection; copies that are on their way fail."""
        self._answers.fail(TransientError("the connection is closed"))
        self._channel = None
        await self.link.close()

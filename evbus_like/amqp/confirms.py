"""Publisher confirms: writes messages on a channel of its own, and tells each of them what RabbitMQ answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import takewhile
from struct import Struct
from typing import Protocol

import aiormq.exceptions as aiormq

from evbus_like.amqp import failures
from evbus_like.amqp.codec import Content, read_shortstr
from evbus_like.amqp.connection import Channel
from evbus_like.amqp.properties import MESSAGE_ID, Properties
from evbus_like.amqp.shared_connection import SharedConnection
from evbus_like.engine.errors import DeliveryError, DestinationRefused, TransientError

RETURN, ACK, NACK = b"\x00\x3c\x00\x32", b"\x00\x3c\x00\x50", b"\x00\x3c\x00\x78"
_tag = Struct(">Q").unpack_from


class MessageRefused(TransientError):
    """RabbitMQ closed the channel or the connection because of a message, perhaps one that was sent beside it."""


Classify = Callable[[BaseException | None], DeliveryError]


class Unconfirmed(Protocol):
    """A message that was published and waits for its confirm.

    RabbitMQ returns a mandatory message that no queue takes, and confirms it afterwards: `returned` is then its
    exchange and its routing key. `id` is the message id if every message of the channel has one of its own, else empty.
    """

    returned: tuple[str, str] | None

    @property
    def id(self) -> str:
        """The message id."""

    @property
    def properties(self) -> bytes:
        """The properties, encoded."""

    @property
    def body(self) -> bytes:
        """The body."""

    def settle(self, error: Exception | None) -> None:
        """Take RabbitMQ's answer."""

    def lost(self, error: Exception) -> None:
        """Handle a lost confirm: the message may have arrived, or not."""


class Confirms:
    """The sink of a channel with confirms: matches RabbitMQ's answers with messages, by their delivery tags."""

    def __init__(self) -> None:
        self.sent = 0
        self.waiting: dict[int, Unconfirmed] = {}  # by delivery tag, in order
        self._gone: Exception | None = None
        self._content = Content(self._returned)
        self._returning = b""  # the method of a return whose content is still to come

    def expect(self, messages: Sequence[Unconfirmed]) -> None:
        """Number messages that are published next; raises the error that the channel was lost by."""
        if self._gone is not None:
            raise self._gone
        waiting, tag = self.waiting, self.sent
        for message in messages:
            tag += 1
            waiting[tag] = message
        self.sent = tag

    def method(self, payload: bytes) -> bool:
        """Take a return, an ack or a nack."""
        kind = payload[:4]
        if kind == RETURN:
            self._returning = payload
            return True
        if kind not in (ACK, NACK):
            return False
        last, multiple = _tag(payload, 4)[0], payload[12] & 1
        error = None if kind == ACK else TransientError(failures.NACK)
        waiting = self.waiting
        tags = list(takewhile(lambda tag: tag <= last, waiting)) if multiple else (last,)
        for tag in tags:
            message = waiting.pop(tag, None)
            if message is not None:
                message.settle(error)
        return True

    def header(self, payload: bytes) -> bool:
        """Take the header of a returned message."""
        if self._returning:
            self._content.header(payload)
        return True

    def body(self, payload: bytes) -> bool:
        """Take a piece of its body."""
        if self._returning:
            self._content.body(payload)
        return True

    def _returned(self, properties: bytes, body: bytes) -> None:
        """Mark the message that was returned; of two that are equal, either will do."""
        method, self._returning = self._returning, b""
        _, at = read_shortstr(method, 6)
        exchange, at = read_shortstr(method, at)
        place = exchange, read_shortstr(method, at)[0]
        message = self._find(Properties(properties).text(MESSAGE_ID), properties, body)
        if message is not None:
            message.returned = place

    def _find(self, id: str, properties: bytes, body: bytes) -> Unconfirmed | None:
        left = [message for message in self.waiting.values() if message.returned is None]
        if id and (known := next((message for message in left if message.id == id), None)):
            return known
        same = [message for message in left if message.body == body and not message.id]
        exact = [message for message in same if message.properties == properties]
        return next(iter(exact or same), None)

    def fail(self, error: Exception) -> None:
        """Give up on all answers."""
        self._gone = error
        waiting, self.waiting = self.waiting, {}
        for message in waiting.values():
            message.lost(error)


class ConfirmChannel:
    """A channel with confirms that only this object publishes on; `classify` makes delivery errors of a loss."""

    def __init__(self, channel: Channel, classify: Classify) -> None:
        self.channel = channel
        self.confirms = Confirms()
        self._classify = classify
        channel.tap(self.confirms)
        channel.on_lost(lambda error: self.confirms.fail(classify(error)))

    @property
    def is_open(self) -> bool:
        """Whether it is open, as far as can be known without asking RabbitMQ."""
        return self.channel.is_open

    async def write(self, messages: Sequence[Unconfirmed], frames: bytes) -> None:
        """Publish messages in one write, in order; raises a DeliveryError if nothing was written."""
        try:
            async with self.channel.aiormq.lock:  # tags and writes have the same order
                self.confirms.expect(messages)
                await self.channel.write(frames)
        except BaseException as error:
            if self.is_open:
                self.channel.connection.abort()  # its delivery tags are in doubt
            if isinstance(error, Exception):
                raise self._classify(error) from error
            raise


class SharedConfirmChannel:
    """A channel with confirms on a shared connection, opened when it is first needed, and again after a loss.

    It needs a connection that does not receive: during an alarm RabbitMQ reads no acks from one that publishes.
    """

    def __init__(self, connection: SharedConnection) -> None:
        self.connection = connection
        self._channel: ConfirmChannel | None = None
        self._opening = asyncio.Lock()

    async def get(self) -> ConfirmChannel:
        """Return the open channel, or open one; raises a DeliveryError."""
        async with self._opening:
            if self._channel is None or not self._channel.is_open:
                try:
                    async with self.connection.channel(confirms=True) as opened:
                        self._channel = ConfirmChannel(opened, self._failure)
                except Exception as error:
                    raise self._failure(error) from error
            return self._channel

    def _failure(self, error: BaseException | None) -> DeliveryError:
        if isinstance(error, DeliveryError):
            return error
        place = self.connection.place
        if isinstance(error, aiormq.ChannelPreconditionFailed):
            return MessageRefused(f"RabbitMQ at {place} refuses a message: {failures.text(error)}")
        if self._channel is not None and (fault := self._channel.channel.connection.fault):
            return MessageRefused(f"RabbitMQ at {place} closed the connection because of a message: {fault}")
        if isinstance(error, (aiormq.ChannelNotFoundEntity, aiormq.ChannelAccessRefused)):
            return DestinationRefused(f"RabbitMQ at {place} refuses a message: {failures.text(error)}")
        return failures.lost(error, place)

    async def close(self) -> None:
        """Close the connection; messages without a confirm fail."""
        if self._channel is not None:
            self._channel.confirms.fail(TransientError("the connection is closed"))
        self._channel = None
        await self.connection.close()

"""Requests and answers of calls, as nameko 2.14 sends them (nameko/rpc.py, nameko/amqp/publish.py)."""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct

from evbus_like.amqp import properties as props
from evbus_like.amqp.codec import content_frames, pack_shortstr, pack_table, publish_method
from evbus_like.amqp.confirms import SharedConfirmChannel
from evbus_like.amqp.connection import SharedConnection
from evbus_like.engine.errors import DestinationRefused, UnknownOutcome, Unroutable
from evbus_like.engine.message import Message

LONGEST_EXPIRATION = 2**32 - 1  # milliseconds, for RabbitMQ
ENCODING = pack_shortstr("utf-8")  # as kombu says; nameko's consumers look at it
MOST_METHODS = 1000  # kept for the next message to the same place

_short = Struct(">H").pack


class UnconfirmedMessage:
    """One message on its way."""

    __slots__ = ("message", "properties", "returned")

    def __init__(self, message: Message, properties: bytes) -> None:
        self.message = message
        self.properties = properties
        self.returned: tuple[str, str] | None = None

    @property
    def id(self) -> str:
        """The message id."""
        return self.message.id

    @property
    def body(self) -> bytes:
        """The body."""
        return self.message.body

    def settle(self, error: Exception | None) -> None:
        """Take RabbitMQ's answer."""
        unroutable = error is None and self.returned is not None
        self.message.settle(Unroutable(self.message.routing_key) if unroutable else error)

    def lost(self, error: Exception) -> None:
        """Handle a lost confirm; only messages for the exchange that the error names were refused."""
        refused = isinstance(error, DestinationRefused) and f"'{self.message.exchange}'" in str(error)
        self.message.settle(error if refused else UnknownOutcome(str(error)))


class MessageSender:
    """Publishes messages on a channel of its own."""

    def __init__(self, connection: SharedConnection) -> None:
        self._channel = SharedConfirmChannel(connection)
        self._methods: dict[tuple[str, str, bool], bytes] = {}

    async def send(self, messages: Sequence[Message]) -> None:
        """Write messages in one piece, in order; raises a DeliveryError if none was written."""
        confirmed = await self._channel.get()
        channel, unconfirmed, frames = confirmed.channel, [], []
        for message in messages:
            try:
                method, properties = self._method(message), encode_properties(message)
            except (ValueError, UnicodeError, OverflowError) as error:  # only this one is at fault
                message.settle(DestinationRefused(f"RabbitMQ cannot take {message!r}: {error}"))
                continue
            unconfirmed.append(UnconfirmedMessage(message, properties))
            frames.append(content_frames(channel.number, channel.max_body, method, properties, message.body))
        if frames:
            await confirmed.write(unconfirmed, b"".join(frames))

    def _method(self, message: Message) -> bytes:
        key = (message.exchange, message.routing_key, message.must_arrive)
        method = self._methods.get(key)
        if method is None:
            if len(self._methods) > MOST_METHODS:
                self._methods.clear()
            method = self._methods[key] = publish_method(*key)
        return method

    async def close(self) -> None:
        """Close the connection; messages without a confirm fail."""
        await self._channel.close()


def encode_properties(message: Message) -> bytes:
    """Encode a message's properties; raises ValueError for text of more than 255 bytes."""
    parts = {  # in the order of the wire
        props.CONTENT_TYPE: pack_shortstr(message.content_type),
        props.CONTENT_ENCODING: ENCODING,
        props.HEADERS: pack_table(message.headers or {}),
        props.DELIVERY_MODE: props.PERSISTENT,
    }
    if message.correlation_id:
        parts[props.CORRELATION_ID] = pack_shortstr(message.correlation_id)
    if message.reply_to:
        parts[props.REPLY_TO] = pack_shortstr(message.reply_to)
    if message.expires is not None:
        milliseconds = min(LONGEST_EXPIRATION, max(1, round(message.expires * 1000)))
        parts[props.EXPIRATION] = pack_shortstr(str(milliseconds))
    parts[props.MESSAGE_ID] = pack_shortstr(message.id)
    return _short(sum(parts)) + b"".join(parts.values())

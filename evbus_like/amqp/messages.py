"""Requests and answers of calls, as nameko 2.14 sends them (nameko/rpc.py, nameko/amqp/publish.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from struct import Struct

from evbus_like.amqp import properties as props
from evbus_like.amqp.codec import BEFORE, content_frames, pack_name, pack_shortstr, pack_table, publish_method
from evbus_like.amqp.confirms import ConfirmChannel, MessageRefused, SharedConfirmChannel
from evbus_like.amqp.shared_connection import SharedConnection
from evbus_like.engine.errors import DeliveryError, DestinationRefused, UnknownOutcome, Unroutable
from evbus_like.engine.message import Message

LONGEST_EXPIRATION = 2**32 - 1  # milliseconds, for RabbitMQ
ENCODING = pack_shortstr("utf-8")  # as kombu says; nameko's consumers look at it
ALONE_WITHIN = 20.0  # seconds for an answer that is sent alone
ALWAYS = props.CONTENT_TYPE | props.CONTENT_ENCODING | props.HEADERS | props.DELIVERY_MODE | props.MESSAGE_ID
MOST_METHODS = 1000  # kept for the next message to the same place

_short = Struct(">H").pack


class UnconfirmedMessage:
    """One message on its way."""

    __slots__ = ("_suspect", "message", "properties", "returned")

    def __init__(self, message: Message, properties: bytes, suspect: Callable[[Message], None] | None = None) -> None:
        self.message = message
        self.properties = properties
        self._suspect = suspect  # is called with a message that RabbitMQ may have refused, unless it was sent alone
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
        """Handle a lost confirm; only messages for the exchange that the error names were refused.

        An answer that may have been refused is sent again alone: a second one does no harm, a second request may.
        """
        if isinstance(error, MessageRefused) and not self.message.must_arrive:
            if self._suspect is not None:
                self._suspect(self.message)
            else:
                self.message.settle(DestinationRefused(str(error)))
            return
        refused = isinstance(error, DestinationRefused) and f"'{self.message.exchange}'" in str(error)
        self.message.settle(error if refused else UnknownOutcome(str(error)))


class MessageSender:
    """Publishes messages on a channel of its own."""

    def __init__(self, connection: SharedConnection) -> None:
        self._connection = connection
        self._channel = SharedConfirmChannel(connection)
        self._alone = asyncio.Lock()  # one connection more, at most
        self._suspects: set[asyncio.Task[None]] = set()
        self._methods: dict[tuple[str, str, bool], bytes] = {}

    async def send(self, messages: Sequence[Message]) -> None:
        """Write messages in one piece, in order; raises a DeliveryError if none was written.

        During an alarm that is Blocked: callers would have given up by its end, and answers are sent then. RabbitMQ 3
        says that it is on only after the first message, which it reads at the end.
        """
        self._connection.check_blocked()
        for message in messages:
            message.is_held = self._connection.is_blocked
        await self._write(await self._channel.get(), messages, self._suspect)

    async def _write(
        self, confirmed: ConfirmChannel, messages: Sequence[Message], suspect: Callable[[Message], None] | None
    ) -> None:
        channel, unconfirmed, frames = confirmed.channel, [], []
        for message in messages:
            try:
                method, properties = self._method(message), encode_properties(message)
                if len(properties) + BEFORE > channel.max_body:
                    raise ValueError(
                        f"its properties are {len(properties)} bytes, and a frame holds {channel.max_body}"
                    )
            except Exception as error:  # only this one is at fault
                message.settle(DestinationRefused(f"RabbitMQ cannot take {message!r}: {error}"))
                continue
            unconfirmed.append(UnconfirmedMessage(message, properties, suspect))
            frames.append(content_frames(channel.number, channel.max_body, method, properties, message.body))
        if frames:
            await confirmed.write(unconfirmed, b"".join(frames))

    def _suspect(self, message: Message) -> None:
        """Send an answer again, on a connection of its own, after a channel was lost because of a message."""
        task = asyncio.create_task(self._send_alone(message), name="evbus_like answer alone")
        self._suspects.add(task)
        task.add_done_callback(self._suspects.discard)

    async def _send_alone(self, message: Message) -> None:
        alone, outcome = SharedConfirmChannel(self._connection.another()), message.on_settled
        settled = asyncio.Event()

        def report(error: Exception | None) -> None:
            settled.set()
            if outcome is not None:
                outcome(error)

        message.on_settled = report
        try:
            async with self._alone, asyncio.timeout(ALONE_WITHIN):
                await self._write(await alone.get(), [message], None)
                await settled.wait()
        except (DeliveryError, TimeoutError) as error:
            message.settle(UnknownOutcome(str(error)))
        finally:
            await alone.close()

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
        for task in self._suspects:
            task.cancel()
        await asyncio.gather(*self._suspects, return_exceptions=True)
        await self._channel.close()


def encode_properties(message: Message) -> bytes:
    """Encode a message's properties; raises ValueError for text of more than 255 bytes."""
    flags = ALWAYS
    parts = [pack_name(message.content_type), ENCODING, pack_table(message.headers or {}), props.PERSISTENT]
    if message.correlation_id:  # in the order of the wire
        flags |= props.CORRELATION_ID
        parts.append(pack_shortstr(message.correlation_id))
    if message.reply_to:
        flags |= props.REPLY_TO
        parts.append(pack_name(message.reply_to))
    if message.expires is not None:
        flags |= props.EXPIRATION
        milliseconds = min(LONGEST_EXPIRATION, max(1, round(message.expires * 1000)))
        parts.append(pack_shortstr(str(milliseconds)))
    parts.append(pack_shortstr(message.id))
    return _short(flags) + b"".join(parts)

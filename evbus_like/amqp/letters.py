"""Letters on RabbitMQ: requests and answers of calls, as nameko 2.14 sends them (nameko/rpc.py, amqp/publish.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from struct import Struct
from typing import Any

import aiormq.exceptions as aiormq
from pamqp.header import ContentHeader

from evbus_like.amqp import properties as props
from evbus_like.amqp import refusals
from evbus_like.amqp.copies import Answers, Copies, encoded, published
from evbus_like.amqp.frames import BASIC, shortstr, value_of
from evbus_like.engine.errors import DestinationRefused, TransientError, UnknownOutcome, Unroutable
from evbus_like.engine.message import Message

LONGEST = 2**32 - 1  # milliseconds of expiration, for RabbitMQ
ENCODING = shortstr("utf-8")  # as kombu says; nameko's consumers look at it

_short = Struct(">H").pack
_long = Struct(">I").pack
_header = Struct(">HHQ").pack


class Sending:
    """One letter on its way."""

    __slots__ = ("answers", "body", "id", "letter", "properties", "returned")

    def __init__(self, letter: Message, properties: bytes, answers: Answers) -> None:
        self.letter = letter
        self.id = letter.id
        self.properties = properties
        self.body = letter.body
        self.returned = False
        self.answers = answers
        if letter.must_arrive:
            answers.by_id[letter.id] = self

    def settle(self, error: Exception | None) -> None:
        """Take RabbitMQ's answer."""
        if self.letter.must_arrive:
            self.answers.by_id.pop(self.id, None)
        self.letter.settle(Unroutable(self.letter.routing_key) if self.returned and error is None else error)

    def lost(self, error: Exception) -> None:
        """Take that there will be no answer; a refusal closes the channel for all, and is about one exchange."""
        refused = isinstance(error, DestinationRefused) and f"'{self.letter.exchange}'" in str(error)
        self.letter.settle(error if refused else UnknownOutcome(str(error)))


class Letters:
    """Publishes letters on a channel of its own, of the connection that copies go over."""

    def __init__(self, copies: Copies) -> None:
        self._copies = copies
        self._methods: dict[tuple[str, str, bool], bytes] = {}
        self._plain: set[asyncio.Task[None]] = set()

    async def send(self, letters: Sequence[Message]) -> None:
        """Write letters, in order, at once; raises a DeliveryError where none was written."""
        channel = await self._copies.ready()
        if not self._copies.tapped:
            await self._send_plain(channel, letters)
            return
        answers, sendings, frames = self._copies.answers, [], []
        for letter in letters:
            try:
                method, properties = self._method(letter), properties_of(letter)
            except (ValueError, UnicodeError, OverflowError) as error:  # only this one is at fault
                letter.settle(DestinationRefused(f"RabbitMQ cannot take {letter!r}: {error}"))
                continue
            sendings.append(Sending(letter, properties, answers))
            frames.append(encoded(channel.number, channel.max_content_size, method, properties, letter.body))
        if frames:
            await self._copies.write(channel, sendings, b"".join(frames))

    def _method(self, letter: Message) -> bytes:
        key = (letter.exchange, letter.routing_key, letter.must_arrive)
        method = self._methods.get(key)
        if method is None:
            if len(self._methods) > 1000:
                self._methods.clear()
            method = self._methods[key] = published(*key)
        return method

    async def _send_plain(self, channel: Any, letters: Sequence[Message]) -> None:
        """Send by aiormq's public interface: a task each, started in order."""
        for letter in letters:
            task = asyncio.create_task(self._send_one(channel, letter), name="evbus_like letter")
            self._plain.add(task)
            task.add_done_callback(self._plain.discard)

    async def _send_one(self, channel: Any, letter: Message) -> None:
        try:
            header = ContentHeader()
            header.unmarshal(_header(BASIC, 0, len(letter.body)) + properties_of(letter))
        except Exception as error:
            letter.settle(DestinationRefused(f"RabbitMQ cannot take {letter!r}: {error}"))
            return
        try:
            await channel.basic_publish(
                letter.body,
                exchange=letter.exchange,
                routing_key=letter.routing_key,
                properties=header.properties,
                mandatory=letter.must_arrive,
            )
        except aiormq.PublishError:
            letter.settle(Unroutable(letter.routing_key))
        except aiormq.DeliveryError as error:
            letter.settle(TransientError(f"RabbitMQ did not take it (basic.nack): {error}"))
        except (Exception, asyncio.CancelledError) as error:
            letter.settle(UnknownOutcome(refusals.words(error)))
        else:
            letter.settle(None)

    async def close(self) -> None:
        """Close the channel and its connection; letters that are on their way fail."""
        for task in self._plain:
            task.cancel()
        await asyncio.gather(*self._plain, return_exceptions=True)
        await self._copies.close()


def properties_of(letter: Message) -> bytes:
    """Encode a letter's properties; raises ValueError for text of more than 255 bytes."""
    headers = letter.headers or {}
    table = b"".join([shortstr(name) + value_of(value) for name, value in headers.items()])
    parts = {
        props.CONTENT_TYPE: shortstr(letter.content_type),
        props.CONTENT_ENCODING: ENCODING,
        props.HEADERS: _long(len(table)) + table,
        props.DELIVERY_MODE: props.PERSISTENT,
    }
    if letter.correlation_id:
        parts[props.CORRELATION_ID] = shortstr(letter.correlation_id)
    if letter.reply_to:
        parts[props.REPLY_TO] = shortstr(letter.reply_to)
    if letter.expires is not None:
        parts[props.EXPIRATION] = shortstr(str(min(LONGEST, max(1, round(letter.expires * 1000)))))
    parts[props.MESSAGE_ID] = shortstr(letter.id)
    return _short(sum(parts)) + b"".join(parts.values())  # which stand in the order of the wire

"""Batched publishing: many messages in one write, their confirms collected without a future for each.

It reaches into aiormq: the attributes below are public by name and undocumented. `usable` checks them on every new
channel, and where they are not as expected, or the library's major version is another, `Publisher` goes by
aio-pika's public `exchange.publish`, one message at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from aiormq.abc import ChannelFrame

from evbus_like.amqp.frames import Encoder, UnknownExchange
from evbus_like.engine.event import Event

MAJOR = "7"


def usable(channel: Any) -> bool:
    """Whether this channel is what the batched way was written for."""
    return (
        version("aiormq").split(".")[0] == MAJOR
        and isinstance(getattr(channel, "confirmations", None), dict)
        and isinstance(getattr(channel, "message_id_delivery_tag", None), dict)
        and isinstance(getattr(channel, "delivery_tag", None), int)
        and isinstance(getattr(channel, "max_content_size", None), int)
        and all(hasattr(channel, name) for name in ("lock", "number", "write_queue", "create_future"))
    )


class Confirms:
    """Collects the broker's answers to one batch.

    `outcomes` holds, by position, None for an ack, an error, or this very object where no answer has come yet.
    `done` is a future of the channel, so it fails when the channel or the connection does.
    """

    def __init__(self, channel: Any, count: int) -> None:
        self.outcomes: list[Any] = [self] * count
        self.left = count
        self.done: asyncio.Future[None] = channel.create_future()

    def settle(self, position: int, outcome: Exception | None) -> None:
        """Note one answer."""
        self.outcomes[position] = outcome
        self.left -= 1
        if not self.left and not self.done.done():
            self.done.set_result(None)


class Slot:
    """Stands in aiormq's `confirmations` for one message, as the future that aiormq would make."""

    __slots__ = ("confirms", "position")

    def __init__(self, confirms: Confirms, position: int) -> None:
        self.confirms = confirms
        self.position = position

    def done(self) -> bool:
        """Whether the answer came already; aiormq asks before it sets one."""
        return False

    def set_result(self, frame: Any) -> None:
        """Take an ack."""
        self.confirms.settle(self.position, None)

    def set_exception(self, error: Exception) -> None:
        """Take a nack or a return."""
        self.confirms.settle(self.position, error)


async def publish(channel: Any, encoder: Encoder, events: Sequence[Event], fixed_key: str | None) -> Confirms:
    """Write a batch in one piece, in order, and give what will hold its answers.

    If this is cancelled or fails, the channel's numbering is in doubt and the channel must be given up; but after an
    UnknownExchange all is as if it had not been called.
    """
    encode = encoder.publish
    async with channel.lock:
        confirms = Confirms(channel, len(events))
        confirmations, returned = channel.confirmations, channel.message_id_delivery_tag
        tag = channel.delivery_tag
        frames: list[bytes] = []
        try:
            for position, event in enumerate(events):
                tag += 1
                confirmations[tag] = Slot(confirms, position)
                returned[event.id] = tag  # a returned message is known by its message id
                encode(event, event.routing_key if fixed_key is None else fixed_key, frames)
        except UnknownExchange:
            confirms.done.cancel()
            for late in range(channel.delivery_tag + 1, tag + 1):
                confirmations.pop(late)
            forget(channel, events)
            raise
        channel.delivery_tag = tag
        await channel.write_queue.put(ChannelFrame(payload=b"".join(frames), should_close=False, drain_future=None))
    return confirms


def forget(channel: Any, events: Sequence[Event]) -> None:
    """Take the batch's message ids out of the channel's books."""
    returned = channel.message_id_delivery_tag
    for event in events:
        returned.pop(event.id, None)

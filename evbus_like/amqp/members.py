"""The workers of a handler with shards announce to each other which shards they read, through a fanout exchange.

Nothing is lost with an announcement: RabbitMQ gives a shard to one worker at a time in any case. They only say who
reads too many shards, and who too few.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import uuid
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import NamedTuple

from evbus_like.amqp import topology
from evbus_like.amqp.connection import Channel
from evbus_like.amqp.deliveries import Deliveries, Delivery
from evbus_like.amqp.messages import MessageSender
from evbus_like.amqp.shared_connection import SharedConnection
from evbus_like.amqp.sharing import Member
from evbus_like.engine.errors import DeliveryError
from evbus_like.engine.message import Message
from evbus_like.engine.receiving.handler import MOST_SHARDS
from evbus_like.engine.suggest import printable

EVERY = 1.0  # seconds between two announcements of a worker
MANY = 10  # workers that announce so often; more take longer
SILENT = 3  # announcements that are missing until a worker counts as gone
KEEP = 5_000  # milliseconds until RabbitMQ drops an announcement
MOST = 1000  # workers that are listened to
LONGEST = 10_000  # bytes of an announcement
LONGEST_TEXT = 255  # characters of an id, or of a place
MOST_UNCONFIRMED = 10  # announcements on their way


def exchange_of(queue: str) -> str:
    """Return the name of the exchange through which the workers of a handler's queue announce what they read."""
    return f"{queue}.workers"


class Announcement(NamedTuple):
    """What a worker says: what it reads, where it runs, seconds until the next one, whether others should answer.

    One that knows no shards reads none, and leaves.
    """

    member: Member
    place: str
    every: float = EVERY
    asks: bool = False

    def encode(self) -> bytes:
        """Return it as JSON."""
        id, shards, known = self.member
        return json.dumps([id, sorted(shards), known, self.place, self.every, self.asks]).encode()


def decode(body: bytes) -> Announcement | None:
    """Return the announcement that somebody sent; None if it is none."""
    if len(body) > LONGEST:
        return None
    try:
        id, shards, known, place, every, asks = json.loads(body)
        member = Member(str(id)[:LONGEST_TEXT], frozenset(_number(each) for each in shards), _number(known))
        return Announcement(
            member, printable(str(place)[:LONGEST_TEXT]), min(max(float(every), EVERY), 60.0), asks is True
        )
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None


def _number(value: object) -> int:
    """Return a number of shards, or of one; raises ValueError."""
    if isinstance(value, int) and 0 <= value <= MOST_SHARDS:
        return value
    raise ValueError(value)


class Members:
    """The other workers of a handler's queue, and what this one announces; `known` is how many shards it knows."""

    def __init__(self, connection: SharedConnection, sender: MessageSender, queue: str, known: int) -> None:
        self.id = uuid.uuid4().hex
        self._connection = connection
        self._sender = sender
        self._queue, self._exchange = queue, exchange_of(queue)
        self._own = f"{self._exchange}.{self.id}"  # the queue of what the others say
        self._known = known
        self._shards: frozenset[int] = frozenset()
        self._place = f"{socket.gethostname()}, process {os.getpid()}"
        self._heard: dict[str, tuple[Announcement, float]] = {}  # by id, and until when it counts
        self._changed = asyncio.Event()
        self._asked = asyncio.Event()
        self._unconfirmed = 0
        self._channel: Channel | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def place(self) -> str:
        """Where RabbitMQ is."""
        return self._connection.place

    async def open(self, lost: Callable[[BaseException | None], None]) -> None:
        """Listen to the others, and ask who is there; raises a DeliveryError.

        `lost` is called when the channel is lost.
        """
        async with self._connection.channel() as channel:
            arguments = {"x-message-ttl": KEEP, "x-max-length": MOST}
            await topology.declare_queue(channel, self._own, arguments, exclusive=True, auto_delete=True)
            await self.bind(channel)
            channel.on_lost(lost)
            channel.tap(Deliveries(self._arrived))
            await topology.consume(channel, self._own, no_ack=True)
            self._channel = channel
        await self._announce(asks=True)
        if self._known:
            self._task = asyncio.create_task(self._announce_often(), name=f"evbus_like shards of {self._queue}")

    async def bind(self, channel: Channel) -> None:
        """Declare the exchange of the announcements and bind this worker's queue; what exists is left as it is."""
        await topology.declare_exchange(channel, self._exchange, {"type": "fanout", "auto_delete": True})
        await topology.bind_queue(channel, self._own, self._exchange, "")

    def _arrived(self, delivery: Delivery) -> None:
        said = decode(delivery.body)
        if said is None or said.member.id == self.id:
            return
        before = self._heard.pop(said.member.id, None)
        if said.member.known and len(self._heard) < MOST:
            self._heard[said.member.id] = said, monotonic() + SILENT * said.every
        if said.asks:
            self._asked.set()
        if before is None or before[0].member != said.member:
            self._changed.set()

    @property
    def announced(self) -> list[Announcement]:
        """What the other workers said that are there."""
        now = monotonic()
        self._heard = {id: known for id, known in self._heard.items() if known[1] > now}
        return [said for said, _ in self._heard.values()]

    @property
    def others(self) -> list[Member]:
        """The other workers."""
        return [said.member for said in self.announced]

    async def wait(self, seconds: float) -> None:
        """Wait until another worker says something new, but not longer."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        self._changed.clear()

    async def say(self, shards: frozenset[int]) -> None:
        """Tell the others which shards this worker reads."""
        self._shards = shards
        await self._announce()

    async def _announce_often(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._every):
                    await self._asked.wait()
            self._asked.clear()
            await self._announce()

    @property
    def _every(self) -> float:
        return EVERY * max(1.0, len(self._heard) / MANY)

    async def _announce(self, asks: bool = False) -> None:
        """Send an announcement; if that fails, the next one says the same."""
        if self._unconfirmed >= MOST_UNCONFIRMED:  # RabbitMQ blocks publishers
            return
        said = Announcement(Member(self.id, self._shards, self._known), self._place, self._every, asks)
        message = Message(self._exchange, "", said.encode(), uuid.uuid4().hex)
        message.on_settled = self._settled
        self._unconfirmed += 1
        try:
            async with asyncio.timeout(EVERY):
                await self._sender.send([message])
        except (DeliveryError, TimeoutError) as error:
            message.settle(error)

    def _settled(self, _error: Exception | None) -> None:
        self._unconfirmed -= 1

    async def close(self) -> None:
        """Tell the others that this worker reads nothing any more, and stop listening."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._known:
            self._known, self._shards = 0, frozenset()
            await self._announce()
        if self._channel is not None:
            await self._channel.close()

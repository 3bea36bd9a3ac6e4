"""A look at the dead letters of a queue beside running handlers: they are delivered to it, and given back.

RabbitMQ cannot show the messages of a queue. A quorum queue counts what is given back, and drops, or dead-letters by
itself, what was given back too often (20 times, since RabbitMQ 4). So a letter that was given back a few times is
replaced by a copy at the end of the queue, which is confirmed before the letter is acknowledged.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

import aiormq.exceptions as aiormq

from evbus_like.amqp import copies, failures, shards, topology
from evbus_like.amqp.connection import Channel
from evbus_like.amqp.copies import Form
from evbus_like.amqp.deliveries import COUNT, Deliveries, Delivery, decode, times_returned
from evbus_like.amqp.redelivery import Republisher
from evbus_like.amqp.shared_connection import SharedConnection
from evbus_like.engine.errors import DeliveryError, TransientError, Unroutable
from evbus_like.engine.receiving import look
from evbus_like.engine.receiving.look import FoundLetter
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.receiving.subscription import Subscription

PAGE = 100  # letters that RabbitMQ delivers ahead
STALL = 5.0  # seconds without a delivery after which the rest is somewhere else
WORN = 3  # times that a letter is given back, before it is replaced by a copy
GONE = 2.0  # seconds that a quorum queue may still count the consumer of a look that has ended
MOST = 100_000  # letters that one look takes and gives back: RabbitMQ keeps account of each


class DeadLetterLook:
    """A consumer of the queue of dead letters, for as long as the look lasts."""

    def __init__(self, channel: Channel, republisher: Republisher, subscription: Subscription, expected: int) -> None:
        self.expected = expected
        self.unseen = ""
        self._channel = channel
        self._republisher = republisher
        self._subscription = subscription
        self._arrived: deque[Delivery] = deque()
        self._page: dict[int, ReceivedEvent] = {}  # what is unsettled of the latest page, by delivery tag
        self._held = 0  # unsettled letters of earlier pages
        self._lost: TransientError | None = None
        self._changed = asyncio.Event()
        self._consumer = ""

    def start(self) -> None:
        """Take the deliveries of the channel."""
        self._channel.on_lost(self._lose)
        self._channel.tap(Deliveries(self._deliver))

    def _deliver(self, delivery: Delivery) -> None:
        self._arrived.append(delivery)
        self._changed.set()

    def _lose(self, error: BaseException | None) -> None:
        self._lost = failures.lost(error, self._channel.connection.target.place)
        self._changed.set()

    async def pages(self) -> AsyncGenerator[Sequence[FoundLetter], None]:
        """Yield the letters that were in the queue when the look began."""
        left = self.expected
        while left and not self.unseen:
            if self._held >= MOST:
                self.unseen = f"it looked at the oldest {MOST} only: replay or purge some of them first"
                return
            await self._take(min(PAGE, left))
            left -= len(self._page)
            if self._page:
                yield [self._letter(event) for event in self._page.values()]
            await self._renew()

    async def _take(self, most: int) -> None:
        """Begin the next page. Each page has a consumer of its own, as a consumer's prefetch bounds what it holds."""
        await self._consume()
        while len(self._page) < most:
            if self._lost is not None:
                raise self._lost
            if self._arrived:
                delivery = self._arrived.popleft()
                self._page[delivery.tag] = decode(delivery, self._subscription)
                continue
            self._changed.clear()
            try:
                async with asyncio.timeout(STALL):
                    await self._changed.wait()
            except TimeoutError:
                self.unseen = f"RabbitMQ gave no more letters for {STALL:g} s: another program may hold the rest"
                return

    async def _consume(self) -> None:
        await self._cancel()
        if len(self._arrived) >= PAGE:
            return
        try:
            await self._channel.aiormq.basic_qos(prefetch_count=PAGE)
            self._consumer = await topology.consume(self._channel, self._subscription.dead)
        except Exception as error:
            raise self._failure(error) from error

    async def _cancel(self) -> None:
        consumer, self._consumer = self._consumer, ""
        if consumer and self._channel.is_open:
            await self._channel.aiormq.basic_cancel(consumer)

    def _letter(self, event: ReceivedEvent) -> FoundLetter:
        letter = look.found(event, self._subscription, event.token.tag)
        if event.token.redelivered:
            letter.headers = {name: value for name, value in letter.headers.items() if name != COUNT}
        return letter

    async def replay(self, letters: Sequence[FoundLetter], to: str) -> Sequence[str]:
        """Publish events to the handler's own queue, or that of another; each is confirmed before it leaves."""
        queue = to or self._subscription.queue

        async def one(letter: FoundLetter) -> None:
            event = self._page[letter.token]
            if self._subscription.shards and not to:  # the event's key says which of them
                place = shards.exchange_of(self._subscription), copies.type_of(event)
                await self._move(event, *place, copies.for_replay_by_type)
            else:
                await self._move(event, "", queue, copies.for_replay)

        return await asyncio.gather(*(_problem(letter, one, queue) for letter in letters))

    async def remove(self, letters: Sequence[FoundLetter]) -> Sequence[str]:
        """Acknowledge letters."""

        async def one(letter: FoundLetter) -> None:
            await self._ack(letter.token)

        return await asyncio.gather(*(_problem(letter, one) for letter in letters))

    async def _move(
        self, event: ReceivedEvent, exchange: str, routing_key: str, form: Callable[[ReceivedEvent], Form]
    ) -> None:
        await self._republisher.send(event, exchange, routing_key, [form(event)])
        await self._ack(event.token.tag)

    async def _ack(self, tag: int) -> None:
        if self._lost is not None:
            raise self._lost
        del self._page[tag]
        await self._channel.aiormq.basic_ack(tag)

    async def _renew(self) -> None:
        """Replace worn letters of the page, in their order, and leave the page."""
        page, dead = self._page, self._subscription.dead
        for event in [each for each in page.values() if times_returned(each) >= WORN]:
            await self._move(event, "", dead, copies.for_renewal)
        self._held += len(page)
        page.clear()

    async def close(self) -> None:
        """Give back what is not settled, with what has arrived meanwhile."""
        try:
            if self._lost is None:
                await self._cancel()
                self._page.update({each.tag: decode(each, self._subscription) for each in self._arrived})
                await self._renew()
        except Exception as error:
            raise self._failure(error) from error
        finally:
            await self._channel.close()

    def _failure(self, error: BaseException) -> DeliveryError:
        place, dead = self._channel.connection.target.place, self._subscription.dead
        return failures.declaring(error, place, f"to give letters of the queue {dead!r}", "Look again")


async def _problem(letter: FoundLetter, work: Callable[[FoundLetter], Awaitable[None]], queue: str = "") -> str:
    """Do something with a letter, and return what went wrong, or an empty string."""
    if queue and letter.cut:
        return f"it is not whole ({letter.cut}), so its handler would not see what it saw"
    try:
        await work(letter)
    except Unroutable:
        return f"the queue {queue!r} does not exist: start its handler once"
    except DeliveryError as error:
        return str(error)
    return ""


async def begin(
    connection: SharedConnection, republisher: Republisher, subscription: Subscription
) -> DeadLetterLook | None:
    """Begin to look; returns None if there is no such queue, so that nothing was given up. Raises a DeliveryError."""
    dead = subscription.dead
    try:
        count, readers = await _without_readers(connection, dead)
    except aiormq.ChannelNotFoundEntity:
        return None
    except Exception as error:
        raise failures.declaring(error, connection.place, f"a look at the queue {dead!r}", "Look again") from error
    if readers:
        raise TransientError(
            f"the queue {dead!r} at RabbitMQ {connection.place} has {readers} consumers, which hold letters that a look"
            " would miss: another `evbus dead`, or another program. Try again when they have ended"
        )
    try:
        async with connection.channel() as channel:
            made = DeadLetterLook(channel, republisher, subscription, count)
            made.start()
            return made
    except Exception as error:
        raise failures.declaring(error, connection.place, "a channel", "Look again") from error


async def _without_readers(connection: SharedConnection, queue: str) -> tuple[int, int]:
    """Return the state of a queue as soon as it has no consumer, or after some seconds."""
    deadline = time.monotonic() + GONE
    while (state := await _state(connection, queue))[1] and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    return state


async def _state(connection: SharedConnection, queue: str) -> tuple[int, int]:
    """Return how many letters and how many consumers a queue has; raises what aiormq raises."""
    async with connection.channel() as channel:
        answer = await topology.declare_queue(channel, queue, passive=True)
        await channel.close()
        return int(answer.message_count), int(answer.consumer_count)

"""Copies of received events: delayed retries, and dead letters."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any

from evbus_like.amqp import copies, failures, topology
from evbus_like.amqp.codec import content_frames, publish_method
from evbus_like.amqp.confirms import MessageRefused, SharedConfirmChannel
from evbus_like.amqp.copies import Form
from evbus_like.amqp.shared_connection import SharedConnection
from evbus_like.engine.errors import DeliveryError, DestinationRefused, PoisonEvent, TransientError, Unroutable
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.receiving.subscription import Subscription

SHORTEST, LONGEST = 100, 2_000_000_000  # milliseconds
# A queue expires so long after its delay, with its messages: RabbitMQ counts a declaration as a use, not a publish.
LEASE = 600_000  # milliseconds
LONG_LEASE = 7 * 24 * 3_600_000  # the same where messages wait for room in the handler's queue
DELETE = "Delete it, and it is declared anew: rabbitmqctl delete_queue"
# A quorum queue of RabbitMQ 4 drops, or dead-letters by itself, what was returned to it more than 20 times.
MOST_RETURNS = 10  # by handlers; the others are for lost connections
LOOK = 1.0  # seconds between two looks at an alarm while a confirm is waited for
RENEW = 60.0  # seconds until it is declared again before a copy is sent

log = logging.getLogger("evbus_like.handlers")


class Copy:
    """One copy on its way; `done` gets RabbitMQ's answer."""

    id = ""  # copies may share a message id

    def __init__(self, properties: bytes, body: bytes) -> None:
        self.properties = properties
        self.body = body
        self.returned: tuple[str, str] | None = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.done.add_done_callback(_retrieved)

    def lost(self, error: Exception) -> None:
        """Handle a lost confirm."""
        self.settle(error)

    def settle(self, error: Exception | None) -> None:
        """Take RabbitMQ's answer."""
        if self.done.done():
            return
        if error is None and self.returned is not None:
            exchange, routing_key = self.returned
            where = f"exchange {exchange!r}" if exchange else "the default exchange"
            error = Unroutable(f"no queue is bound to {where} for routing key {routing_key!r}, so RabbitMQ returned it")
        if error is not None:
            self.done.set_exception(error)
        else:
            self.done.set_result(None)


def _retrieved(done: asyncio.Future[None]) -> None:
    """Keep asyncio from logging an answer that nobody waits for any more."""
    if not done.cancelled():
        done.exception()


class Republisher:
    """Publishes copies, one at a time for each caller."""

    def __init__(self, connection: SharedConnection) -> None:
        self.connection = connection
        self._channel = SharedConfirmChannel(connection)
        self._alone = asyncio.Lock()  # one connection more, at most

    async def send(self, event: ReceivedEvent, exchange: str, routing_key: str, forms: Sequence[Form]) -> None:
        """Publish a copy in the first of its forms that RabbitMQ takes; returns once RabbitMQ has it.

        A copy whose confirm somebody stopped waiting for is not sent again: its confirm is waited for. Raises
        PoisonEvent if RabbitMQ takes none of the forms, Unroutable and other DeliveryErrors.
        """
        under_way: UnderWay | None = event.token.copy
        if under_way is not None and under_way.place == (exchange, routing_key) and await under_way.arrived():
            return
        *larger, last = forms
        for form in larger:
            try:
                await self._send(event, exchange, routing_key, form)
            except PoisonEvent as error:
                log.warning("a copy for the queue %s is cut: %s", routing_key, error)
            else:
                return
        await self._send(event, exchange, routing_key, last)

    async def _send(self, event: ReceivedEvent, exchange: str, routing_key: str, form: Form) -> None:
        """Publish one form. If a message is refused while it is under way, send it again on a connection of its own."""
        try:
            return await _publish(self._channel, event, exchange, routing_key, form)
        except MessageRefused:
            async with self._alone:
                alone = SharedConfirmChannel(self.connection.another())
                try:
                    return await _publish(alone, event, exchange, routing_key, form)
                except MessageRefused as error:
                    raise PoisonEvent(str(error)) from error
                finally:
                    await alone.close()

    async def declare_queue(
        self, name: str, advice: str, arguments: Mapping[str, Any] | None = None, passive: bool = False
    ) -> None:
        """Declare a queue on a channel of its own, because a refusal closes the channel; raises a DeliveryError."""
        self.connection.check_blocked()
        try:
            async with self.connection.channel() as channel:
                await topology.declare_queue(channel, name, arguments, passive=passive)
                await channel.close()
        except Exception as error:
            place = self.connection.place
            raise failures.declaring(error, place, f"the queue {name!r}", advice) from error

    async def close(self) -> None:
        """Close the connection; copies without a confirm fail."""
        await self._channel.close()


async def _publish(
    shared: SharedConfirmChannel, event: ReceivedEvent, exchange: str, routing_key: str, form: Form
) -> None:
    shared.connection.check_blocked()
    confirmed = await shared.get()
    channel = confirmed.channel
    try:
        method = publish_method(exchange, routing_key, True)
        properties, body = form(channel.max_body)
        frames = content_frames(channel.number, channel.max_body, method, properties, body)
    except Exception as error:
        raise PoisonEvent(f"it cannot be encoded: {type(error).__name__}: {error}") from error
    copy = Copy(properties, body)
    await confirmed.write([copy], frames)
    event.token.copy = under_way = UnderWay(copy, (exchange, routing_key), shared.connection)
    await under_way.confirmed()


class UnderWay:
    """A copy that was written, and that RabbitMQ has not answered yet."""

    def __init__(self, copy: Copy, place: tuple[str, str], connection: SharedConnection) -> None:
        self.place = place
        self._copy = copy
        self._connection = connection

    async def confirmed(self) -> None:
        """Return once RabbitMQ has it; raises its answer, or a TransientError while RabbitMQ blocks publishers."""
        done = self._copy.done
        while not done.done():
            self._connection.check_blocked()
            await asyncio.wait([done], timeout=LOOK)
        try:
            done.result()
        except TransientError as error:
            if str(error) != failures.NACK:
                raise
            raise TransientError(f"{failures.NACK}. It was for {self.place[1]!r}") from error

    async def arrived(self) -> bool:
        """Wait for the answer, and return whether RabbitMQ has it; raises a TransientError during an alarm."""
        try:
            await self.confirmed()
        except DeliveryError:
            if not self._copy.done.done():
                raise
            return False
        return True


class DelayedRetry:
    """Sends copies to queues of delays, whose messages expire back into the handler's own queue.

    The handler's queue stays as nameko declares it. There is one queue for each of a few delays (1, 2, 5, 10, 20, 50,
    ... tenths of a second, and those that somebody chose), and each is deleted when it is unused for a while.

    Those of a reliable handler are quorum queues, from which RabbitMQ (since 3.10) removes a message only when the
    handler's queue has confirmed it: that may be full, or gone. RabbitMQ tries again after three minutes.
    """

    def __init__(self, republisher: Republisher) -> None:
        self._republisher = republisher
        self._declared: dict[tuple[str, int], tuple[str, float]] = {}  # names of queues, and until when they exist
        self._declaring = asyncio.Lock()  # so that a hundred retries at once do not open a hundred channels

    async def send(self, event: ReceivedEvent, subscription: Subscription, delay: float) -> None:
        """Return once the copy is safe; it arrives after `delay` seconds, rounded up to a step.

        Raises DeliveryError.
        """
        milliseconds, forms = step(delay), copies.for_retry(event)
        queue = await self._queue(subscription, milliseconds)
        try:
            await self._republisher.send(event, "", queue, forms)
        except Unroutable:  # the queue was deleted
            self._declared.clear()
            await self._republisher.send(event, "", await self._queue(subscription, milliseconds), forms)

    async def _queue(self, subscription: Subscription, milliseconds: int) -> str:
        """Return the name of the queue of a delay, which exists."""
        async with self._declaring:
            now, place = monotonic(), (subscription.queue, milliseconds)
            name, until = self._declared.get(place, ("", 0.0))
            if until <= now:
                name = await self._declare(subscription, milliseconds)
                self._declared = {each: known for each, known in self._declared.items() if known[1] > now}
                self._declared[place] = name, now + RENEW
            return name

    async def _declare(self, subscription: Subscription, milliseconds: int) -> str:
        if subscription.reliable:
            name = f"{subscription.queue}.retry.{_seconds(milliseconds)}"
            try:
                await self._republisher.declare_queue(name, DELETE, safe_arguments(subscription, milliseconds))
            except DestinationRefused as error:
                if "PRECONDITION_FAILED" not in str(error):
                    raise
                log.warning(
                    "%s. Retries wait in a classic queue: one that finds the handler's queue full is lost", error
                )
            else:
                return name
        name = f"{subscription.queue}.retry.{milliseconds}"
        await self._republisher.declare_queue(name, DELETE, delay_arguments(subscription, milliseconds))
        return name


class DeadLetters:
    """Sends copies to the queues of dead letters, or to the exchange for them that the profile names."""

    def __init__(self, republisher: Republisher, exchange: str = "", quorum: bool = False) -> None:
        self._republisher = republisher
        self._exchange = exchange
        self._quorum = quorum
        self._declared: set[str] = set()
        self._declaring = asyncio.Lock()

    async def send(self, event: ReceivedEvent, subscription: Subscription, reason: str) -> None:
        """Return once the copy is safe, its reason in its headers; raises a DeliveryError."""
        forms = copies.for_dead_letter(event, subscription.queue, reason)
        if self._exchange:
            await self._to_exchange(event, subscription, forms)
            return
        queue = subscription.dead
        await self._declare(queue)
        try:
            await self._republisher.send(event, "", queue, forms)
        except Unroutable:  # the queue was deleted
            self._declared.discard(queue)
            await self._declare(queue)
            await self._republisher.send(event, "", queue, forms)

    async def _to_exchange(self, event: ReceivedEvent, subscription: Subscription, forms: Sequence[Form]) -> None:
        try:
            await self._republisher.send(event, self._exchange, subscription.queue, forms)
        except Unroutable as error:
            raise DestinationRefused(
                f"dead letters of {subscription.queue!r} have no queue: {error}. Bind a queue to the exchange"
                f" {self._exchange!r} (the profile's dead_letter_exchange), with that routing key or with #"
            ) from error

    async def _declare(self, queue: str) -> None:
        """Declare the queue as durable, unless it exists; its owner may have declared it otherwise."""
        advice = f"Create it, durable: rabbitmqadmin declare queue name={queue!r} durable=true"
        async with self._declaring:
            if queue in self._declared:
                return
            try:
                await self._republisher.declare_queue(queue, advice, passive=True)
            except DeliveryError as error:
                if "NOT_FOUND" not in str(error):
                    raise
                arguments = {"x-queue-type": "quorum"} if self._quorum else None
                await self._republisher.declare_queue(queue, advice, arguments)
            self._declared.add(queue)


def step(delay: float) -> int:
    """Return a delay in seconds rounded up to a step, in milliseconds.

    Whole seconds of one or two digits before zeros, such as 30, 45 and 3600, are kept: somebody chose them. Those of a
    backoff are drawn, and must not need a queue each.
    """
    if delay >= 1 and delay * 1000 <= LONGEST and delay == int(delay) and len(str(int(delay)).rstrip("0")) <= 2:
        return int(delay) * 1000
    unit = SHORTEST
    while unit < LONGEST:
        for factor in (1, 2, 5):
            if delay * 1000 <= unit * factor:
                return min(unit * factor, LONGEST)
        unit *= 10
    return LONGEST


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds // 1000}s" if milliseconds >= 1000 else f"0.{milliseconds // 100}s"


def delay_arguments(subscription: Subscription, milliseconds: int) -> dict[str, Any]:
    """Return the arguments of a classic queue of a delay: its messages expire into the subscription's queue."""
    return {
        "x-message-ttl": milliseconds,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": subscription.queue,
        "x-expires": milliseconds + LEASE,
    }


def safe_arguments(subscription: Subscription, milliseconds: int) -> dict[str, Any]:
    """Return those of a quorum queue, which keeps a message until the subscription's queue has confirmed it."""
    return {
        **delay_arguments(subscription, milliseconds),
        "x-expires": milliseconds + LONG_LEASE,
        "x-queue-type": "quorum",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",  # which that strategy needs
    }

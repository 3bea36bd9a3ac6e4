"""Retries after a delay: a copy waits in a queue of its delay, whose end leads it back to the handler's own queue.

The handler's queue stays as nameko would have it. There is one queue for each of a few delays (1, 2, 5, 10, 20, 50, ...
tenths of a second), and each vanishes when it was not used for a while.
"""

from __future__ import annotations

from time import monotonic
from typing import Any

from evbus_like.amqp import methods, refusals
from evbus_like.amqp.arrival import ATTEMPT, COUNT, DEATHS, ROUTING_KEY
from evbus_like.amqp.copies import Copies
from evbus_like.amqp.properties import Properties
from evbus_like.engine.errors import Unroutable
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.receiving.subscription import Subscription

SHORTEST, LONGEST = 100, 2_000_000_000  # milliseconds
# An unused queue goes so long after its delay, with what is in it: to RabbitMQ declaring is a use, publishing is not.
LEASE = 600_000  # milliseconds
RENEW = 60.0  # seconds until it is declared again before a copy is sent
NOT_COPIED = frozenset({"CC", "BCC"})  # they would send the copy to other queues, too


class Later:
    """Sends copies to queues of delays."""

    def __init__(self, copies: Copies) -> None:
        self._copies = copies
        self._declared: dict[str, float] = {}

    async def send(self, event: ReceivedEvent, subscription: Subscription, delay: float) -> None:
        """Return when the copy is safe; it comes after `delay` seconds, rounded up to a step. Raises DeliveryError."""
        milliseconds = step(delay)
        queue = f"{subscription.queue}.retry.{milliseconds}"
        properties = copied(event, {ATTEMPT: event.attempt + 1, ROUTING_KEY: event.routing_key})
        await self._declare(queue, milliseconds, subscription)
        try:
            await self._copies.send("", queue, properties, event.raw)
        except Unroutable:  # somebody has deleted the queue
            self._declared.pop(queue, None)
            await self._declare(queue, milliseconds, subscription)
            await self._copies.send("", queue, properties, event.raw)

    async def _declare(self, queue: str, milliseconds: int, subscription: Subscription) -> None:
        now = monotonic()
        if self._declared.get(queue, 0.0) > now:
            return
        try:
            async with self._copies.link.channel() as (line, channel):
                await methods.declare_queue(channel, queue, arguments=arguments(subscription, milliseconds))
                await self._copies.link.close_channel(line, channel)
        except Exception as error:
            advice = f"Delete it, and it is made anew: rabbitmqctl delete_queue {queue!r}"
            raise refusals.declaring(error, self._copies.link.target.place, f"the queue {queue!r}", advice) from error
        self._declared = {name: until for name, until in self._declared.items() if until > now}
        self._declared[queue] = now + RENEW


def step(delay: float) -> int:
    """Round a delay in seconds up to a step, in milliseconds."""
    unit = SHORTEST
    while unit < LONGEST:
        for factor in (1, 2, 5):
            if delay * 1000 <= unit * factor:
                return min(unit * factor, LONGEST)
        unit *= 10
    return LONGEST


def arguments(subscription: Subscription, milliseconds: int) -> dict[str, Any]:
    """Give the arguments of a queue of a delay: what has waited goes to the subscription's queue, by its name."""
    return {
        "x-message-ttl": milliseconds,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": subscription.queue,
        "x-expires": milliseconds + LEASE,
    }


def copied(event: ReceivedEvent, added: dict[str, Any]) -> bytes:
    """Give the properties of an event's copy: as they arrived, but for what RabbitMQ or this package had added."""
    properties = Properties(event.token.properties)
    gone = {name for name in properties.headers if name == COUNT or name.startswith(DEATHS)}
    return properties.copy(gone | NOT_COPIED | {ATTEMPT, ROUTING_KEY}, added)

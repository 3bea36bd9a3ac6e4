"""A receiver: what all handlers of one profile share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evbus_like.amqp import feed
from evbus_like.amqp.connect import target
from evbus_like.amqp.copies import Copies
from evbus_like.amqp.dead import Dead
from evbus_like.amqp.feed import Feed
from evbus_like.amqp.later import Later
from evbus_like.amqp.letters import Letters
from evbus_like.amqp.link import Link
from evbus_like.engine.message import Message
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.receiving.subscription import Subscription


class Receiver:
    """A connection for the handlers' channels, and another, made when it is needed, for all that goes out.

    That is retries, dead letters, and the requests and answers of calls.
    """

    def __init__(self, acct: Mapping[str, Any]) -> None:
        where, taps = target(acct), bool(acct.get("batched", True))
        connection = acct.get("connection")
        given = connection.get("client_properties") if isinstance(connection, Mapping) else None
        properties = dict(given or {})
        self._acct = acct
        self._link = Link(where, properties, taps)
        outgoing = Link(where, properties, taps)
        self._copies = Copies(outgoing)
        self._letters = Letters(Copies(outgoing))
        self._later = Later(self._copies)
        self._dead = Dead(self._copies, acct.get("dead_letter_exchange") or "", bool(acct.get("quorum")))

    async def subscribe(self, subscription: Subscription) -> Feed:
        """Begin to read a subscription's queue; raises a DeliveryError."""
        return await feed.subscribe(self._link, self._acct, subscription)

    async def retry(self, to: Feed, event: ReceivedEvent, delay: float) -> None:
        """Let an event come again after `delay` seconds; raises a DeliveryError."""
        await self._later.send(event, to.subscription, delay)
        await to.ack([event])

    async def dead(self, to: Feed, event: ReceivedEvent, reason: str) -> None:
        """Put an event to the dead letters; raises a DeliveryError."""
        await self._dead.send(event, to.subscription, reason)
        await to.ack([event])

    async def send(self, letters: Sequence[Message]) -> None:
        """Send requests and answers of calls; raises a DeliveryError where none was sent."""
        await self._letters.send(letters)

    async def close(self) -> None:
        """Close both connections."""
        await self._letters.close()
        await self._copies.close()
        await self._link.close()

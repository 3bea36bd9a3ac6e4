"""What the engine needs of a source; the hub layer makes one from an egress plugin and a profile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from evbus_like.engine.message import Message
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.receiving.subscription import Subscription


class Source(Protocol):
    """Where events come from; `egress/contracts/init.py` says what each verb means.

    `feed` is what `subscribe` gave. `retries` says whether the source can give an event again after a delay; where it
    cannot, the event is kept here meanwhile. `sends` says whether it can send letters, as calls need. `timeout` is in
    seconds, for each call but `receive`.
    """

    name: str
    retries: bool
    sends: bool
    timeout: float
    max_event_bytes: int

    async def subscribe(self, subscription: Subscription) -> Any:
        """Begin to receive; connects where that is needed. Raises a DeliveryError."""

    async def receive(self, feed: Any) -> Sequence[ReceivedEvent]:
        """Wait for the next events; may be cancelled without losing any. Raises where the feed is lost."""

    async def ack(self, feed: Any, events: Sequence[ReceivedEvent]) -> None:
        """Say that events are dealt with."""

    async def requeue(self, feed: Any, event: ReceivedEvent) -> None:
        """Give an event back; it comes again, here or elsewhere."""

    async def retry(self, feed: Any, event: ReceivedEvent, delay: float) -> None:
        """Let an event come again after `delay` seconds, its attempt counted."""

    async def dead(self, feed: Any, event: ReceivedEvent, reason: str) -> None:
        """Put an event to the dead letters, and return when it is safe there."""

    async def send(self, feed: Any, letters: Sequence[Message]) -> None:
        """Write letters, in order, and settle each when it is known what became of it.

        Where this raises, those that are not settled have that outcome.
        """

    async def unsubscribe(self, feed: Any) -> None:
        """End a feed; what is not settled is given back."""

    async def close(self) -> None:
        """Let go of the connection, where one is open: no feed is wanted any more."""

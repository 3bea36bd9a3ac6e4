"""The Protocol of a source; the hub layer implements it for an egress plugin and a profile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeAlias

from evbus_like.engine.message import Message
from evbus_like.engine.receiving.received import ReceivedEvent
from evbus_like.engine.receiving.subscription import Subscription

Feed: TypeAlias = object  # what `subscribe` returned: the engine only passes it on


class Inspection(NamedTuple):
    """What a look at a source finds: advice, and some events as they are there, which nothing was done to.

    For a handler with shards, `workers` are those that run: where, and the numbers of the shards that each reads.
    """

    advice: Sequence[str] = ()
    samples: Sequence[ReceivedEvent] = ()
    workers: Sequence[tuple[str, Sequence[int]]] = ()


class Source(Protocol):
    """Where events come from; `egress/contracts/init.py` describes each method.

    `retries` says whether the source can deliver an event again after a delay; otherwise the event waits in this
    process. `sends` says whether it can send messages, which calls need. `timeout` is in seconds, for each call but
    `receive`.
    """

    name: str
    retries: bool
    sends: bool
    timeout: float
    max_event_bytes: int

    async def subscribe(self, subscription: Subscription) -> Feed:
        """Begin to receive; connects if necessary. Raises a DeliveryError."""

    async def receive(self, feed: Feed) -> Sequence[ReceivedEvent]:
        """Wait for the next events; may be cancelled without losing any. Raises if the feed is lost."""

    async def ack(self, feed: Feed, events: Sequence[ReceivedEvent]) -> None:
        """Acknowledge events."""

    async def requeue(self, feed: Feed, event: ReceivedEvent) -> None:
        """Give an event back; it is delivered again, here or elsewhere."""

    async def retry(self, feed: Feed, event: ReceivedEvent, delay: float) -> None:
        """Deliver an event again after `delay` seconds, with its attempt counted."""

    async def dead(self, feed: Feed, event: ReceivedEvent, reason: str) -> None:
        """Move an event to the dead letters; returns when it is safe there."""

    def redacted(self, text: str) -> str:
        """Return a text without the secrets of the profile."""

    async def send(self, feed: Feed, messages: Sequence[Message]) -> None:
        """Write messages in order, and settle each when its outcome is known.

        If this raises, the exception is the outcome of the messages that are not settled yet.
        """

    async def unsubscribe(self, feed: Feed) -> None:
        """End a feed; unsettled events are given back."""

    async def close(self) -> None:
        """Close the connection if one is open; called when no feed is left."""

"""What the engine needs of a destination; the hub layer makes one from an ingress plugin and a profile."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from evbus_like.engine.event import Event

Outcomes = Sequence[Exception | Mapping[str, Any] | None]


class Destination(Protocol):
    """Where a lane publishes; the lane calls one method at a time, never two at once.

    `publish_now` is for destinations that have nothing to connect and seldom wait, None for all others: it delivers
    the first of the events that can be delivered without waiting, and gives their number.

    `on_blocked` is the lane's: the destination calls it with the reason when it takes nothing for now, and with None
    when it takes events again or the connection is lost. In between, the deadline of a publish stands still, and no
    other publish is begun.
    """

    publish_now: Callable[[Sequence[Event]], int] | None
    on_blocked: Callable[[str | None], None]

    async def open(self) -> None:
        """Connect; raises a DeliveryError."""

    async def publish(self, events: Sequence[Event]) -> Outcomes | None:
        """Publish in order and return when all is confirmed.

        Returns None where every event was delivered, else one entry an event, in order: None, what the destination said
        of a delivered event (for its receipt), or what went wrong;
        fewer entries than events mean that the rest was not tried and is offered again at once. Raises
        where the whole batch failed; the lane then closes, opens and sends the batch again.
        """

    async def close(self) -> None:
        """Let go of the connection; never waits for events."""


@dataclass(frozen=True)
class LaneOptions:
    """How one lane works; what a profile may say, with the defaults (sizes in bytes, times in seconds).

    `when_full` is "block", "drop_new", "drop_old" or "spill"; `durable` events are in the outbox before they are
    accepted. `dead_letter` is the event profile that gets the dead letters.
    """

    max_events: int = 100_000
    max_bytes: int = 64 * 1024 * 1024
    max_event_bytes: int | None = None
    batch_events: int = 1000
    batch_bytes: int = 4 * 1024 * 1024
    timeout: float = 30.0
    retry_base: float = 0.1
    retry_cap: float = 5.0
    refused_cap: float = 30.0
    attempts: int | None = None
    retry_deadline: float | None = None
    when_full: str = "block"
    durable: bool = False
    dead_letter: str | None = None

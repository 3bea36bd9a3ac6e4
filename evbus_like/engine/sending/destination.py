"""A destination, as the engine uses it; the hub layer makes one from an ingress plugin and a profile."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from evbus_like.engine.event import Event

Outcomes = Sequence[Exception | Mapping[str, Any] | None]


@dataclass(frozen=True)
class Asks:
    """What puts ask before they accept an event: `refuse` says why the destination does not take it, if it does not.

    Events whose body has at most `above` bytes, without headers and with a short key, are accepted without asking.
    """

    refuse: Callable[[Event], str | None]
    above: int = -1


class Destination(Protocol):
    """Where a lane publishes; its methods are called one at a time.

    `publish_now` is for destinations that need no connection and rarely wait, None for all others: it delivers as many
    of the first events as it can without waiting, and returns their number.

    `on_blocked` is set by the lane: the destination calls it with the reason when it takes nothing for now, and with
    None when it takes events again or the connection is lost. In between, the deadline of a publish is suspended, and
    no other publish begins.

    `asks` is what puts ask, None if they need not. It may change as the destination learns what it takes; `on_asks` is
    set by the lane, and is called then.
    """

    publish_now: Callable[[Sequence[Event]], int] | None
    on_blocked: Callable[[str | None], None]
    asks: Asks | None
    on_asks: Callable[[], None]

    async def open(self) -> None:
        """Connect; raises a DeliveryError."""

    async def publish(self, events: Sequence[Event]) -> Outcomes | None:
        """Publish in order and return when all is confirmed.

        Returns None if every event was delivered, otherwise one entry for each event, in order: None, what the
        destination answered (for the receipt), or the error. With fewer entries than events the rest was not tried, and
        is published again at once. Raises if the whole batch failed; the lane then closes, opens and publishes again.
        """

    async def close(self) -> None:
        """Close the connection without waiting for events."""


@dataclass(frozen=True)
class LaneOptions:
    """The options of one lane that a profile may set, with their defaults (sizes in bytes, times in seconds).

    `when_full` is "block", "drop_new", "drop_old" or "spill"; `durable` events are stored in the outbox before
    they are accepted. `dead_letter` is the profile that gets the dead letters. `reserved_headers` are names that the
    destination gives a meaning of its own: puts with them are refused. `expires` and `priority` are for events that
    were put without; `takes_priority` says whether the destination has priorities. `rate` is a text such as 50/s.
    """

    max_events: int = 100_000
    max_bytes: int = 64 * 1024 * 1024
    max_event_bytes: int | None = None
    max_header_bytes: int | None = None
    reserved_headers: Sequence[str] = ()
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
    expires: float | None = None
    priority: int | None = None
    takes_priority: bool = False
    rate: str | None = None

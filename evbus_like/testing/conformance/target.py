"""A target: one destination under test, as its author describes it to the conformance suite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Features:
    """What a kind of destination can do; a difference between plugins is declared here, never an edited test."""

    headers: bool = True  # an event's headers and its id arrive
    typed_headers: bool = True  # False: header values arrive as text
    content_type: bool = True  # the serializer's content type arrives
    order: bool = True  # events of one routing key arrive in the order in which they were put
    fixed_key: bool = True  # a profile can fix the routing key, or topic, of all its events
    refuses_missing_target: bool = True  # an event that leads nowhere is an error, not a success
    connects: bool = True  # the destination can be absent, and come
    survives_restart: bool = True  # the destination keeps what it confirmed when it is killed
    refuses_login: bool = True  # the destination knows who may write
    max_event_bytes: int = 64 * 1024 * 1024  # the largest body that the profile of the target takes


@dataclass(frozen=True)
class Record:
    """One event as it arrived. What the destination cannot hold stays at its default."""

    routing_key: str
    body: bytes
    id: str = ""
    headers: Mapping[str, Any] = field(default_factory=dict)
    content_type: str = ""


class Target:
    """A fresh destination and a reader of it; the reader must share no code with the plugin.

    `hub` is set before each start of a bus, for destinations that live in the process.
    """

    provider: str = ""
    keys: Sequence[str] = ()  # three routing keys whose events `read` gives
    missing_key: str = ""  # a routing key that leads nowhere, with refuses_missing_target
    hub: Any = None

    def profile(self) -> dict[str, Any]:
        """Give the profile's data."""
        raise NotImplementedError

    def fixed_profile(self) -> dict[str, Any]:
        """Give a profile's data by which every event arrives as of `keys[0]`; with fixed_key."""
        raise NotImplementedError

    def refused_profile(self) -> tuple[dict[str, Any], str]:
        """Give a profile's data with a wrong password, and that password; with refuses_login."""
        raise NotImplementedError

    async def read(self, count: int) -> list[Record]:
        """Give all that arrived since the last read, in order per routing key.

        Waits until there are `count` or 60 s are over, and then takes what else is there: a repeat must show.
        """
        raise NotImplementedError

    async def kill(self) -> None:
        """Take the destination away as a crash does; with connects."""
        raise NotImplementedError

    async def start(self) -> None:
        """Bring it back in the same place, and return when it answers; with connects."""
        raise NotImplementedError

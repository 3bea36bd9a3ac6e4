"""A source under test, as its author describes it to the conformance suite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evbus_like.engine.receiving.subscription import Subscription
from evbus_like.testing.conformance.target import Record


@dataclass(frozen=True)
class SourceFeatures:
    """What a kind of source can do; a difference between plugins is declared here, never an edited test."""

    processes: bool = True  # several worker processes can share the source
    survives_restart: bool = True  # the source can be killed and started, and keeps what it was given
    headers: bool = True  # headers and the id arrive
    typed_headers: bool = True  # False: numbers arrive as text
    content_type: bool = True  # False: all bodies are JSON
    redelivered: bool = True  # it says of an event that was given before that it was
    keyed_order: bool = False  # events of one key are handled in their order, whatever is retried
    rewinds: bool = False  # a new handler may begin in the past
    keeps_unwanted: bool = False  # an unreliable handler, too, gets what came while nobody received
    max_event_bytes: int = 16 * 1024 * 1024  # the largest body that the source takes


class SourceTarget:
    """A source, and a writer to it; the writer must share no code with the plugin.

    `hub` is set before each start of a bus, for sources that live in the process.
    """

    provider: str = ""
    hub: Any = None

    def profile(self) -> dict[str, Any]:
        """Give the profile's data; plain data, for it goes to other processes."""
        raise NotImplementedError

    async def prepare(self, service: str) -> None:
        """Make what must be there before events of a service are published, or received; nothing by default."""

    async def publish(
        self,
        service: str,
        event_type: str,
        body: bytes,
        headers: Mapping[str, Any] | None = None,
        id: str = "",
        content_type: str = "application/json",
        key: str | None = None,
    ) -> None:
        """Publish an event of a service, and return when the source has it."""
        raise NotImplementedError

    async def dead_letters(self, subscription: Subscription) -> list[Record]:
        """Give the dead letters of a handler that came since the last look, without waiting for any."""
        raise NotImplementedError

    async def kill(self) -> None:
        """Take the source away as a crash does; with survives_restart."""
        raise NotImplementedError

    async def start(self) -> None:
        """Bring it back in the same place, and return when it answers; with survives_restart."""
        raise NotImplementedError

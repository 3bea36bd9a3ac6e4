"""A source under test, as the author of its plugin describes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evbus_like.engine.receiving.subscription import Subscription
from evbus_like.testing.conformance.failing import missing_method
from evbus_like.testing.conformance.target import Record


@dataclass(frozen=True)
class SourceFeatures:
    """What a kind of source can do. A test of a feature that is False is skipped."""

    processes: bool = True  # several worker processes can share the source; the tests start some, and kill some
    survives_restart: bool = True  # a killed source keeps its events; needs `kill` and `start`
    headers: bool = True  # the headers and the id of an event arrive
    typed_headers: bool = True  # values of headers keep their types; False: their text arrives, `7` as `"7"`
    content_type: bool = True  # the content type arrives; False: all bodies are JSON
    redelivered: bool = True  # an event that was delivered before has `redelivered` set
    keyed_order: bool = False  # events of one key are handled in order, also when some are retried
    delays: bool = False  # `later` works: the source can deliver an event again after a delay, and others meanwhile
    rewinds: bool = False  # `since` works: a new handler can start at the earliest event
    keeps_unwanted: bool = False  # an unreliable service pool also gets events published while no worker ran
    dead_letters: bool = True  # the plugin has `dead_letters`, for `evbus dead`
    max_event_bytes: int = 16 * 1024 * 1024  # the largest body that the source takes


class SourceTarget:
    """A source, and a publisher of its events. The publisher must share no code with the plugin."""

    provider: str = ""  # the provider, as in `ACCT`
    hub: Any = None  # set by the suite: the hub of the running bus, for sources that live in the process

    def profile(self) -> dict[str, Any]:
        """Return the options of a profile that leads to this source: plain data, which goes to other processes."""
        raise missing_method(self, "profile", "configure the bus")

    async def prepare(self, service: str) -> None:
        """Create what must exist before events of a service are published or received; nothing by default."""

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
        raise missing_method(self, "publish", "publish events that the plugin receives")

    async def dead_letters(self, subscription: Subscription) -> list[Record]:
        """Return the dead letters of a subscription that arrived since the last call; do not wait for any."""
        raise missing_method(self, "dead_letters", "see which events were dead-lettered")

    async def kill(self) -> None:
        """Take the source down as a crash does; for `survives_restart`."""
        raise missing_method(self, "kill", "take the source down", "survives_restart")

    async def start(self) -> None:
        """Bring it up again at the same address, and return when it answers; for `survives_restart`."""
        raise missing_method(self, "start", "bring the source up again", "survives_restart")

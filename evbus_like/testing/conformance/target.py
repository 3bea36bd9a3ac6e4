"""A destination under test, as the author of its plugin describes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evbus_like.testing.conformance.failing import missing_method


@dataclass(frozen=True)
class Features:
    """What a kind of destination can do. A test of a feature that is False is skipped."""

    headers: bool = True  # the headers and the id of an event arrive
    typed_headers: bool = True  # headers keep their types; False: `7` arrives as `"7"`, bytes as they are
    content_type: bool = True  # the content type of the serializer arrives
    order: bool = True  # events of one routing key arrive in the order of their puts
    fixed_key: bool = True  # a profile can set the routing key, or topic, of all its events; needs `fixed_profile`
    refuses_missing_target: bool = True  # an event that leads nowhere is an error; needs `missing_key`
    connects: bool = True  # the destination can be down, and come up; needs `kill` and `start`
    survives_restart: bool = True  # a killed destination keeps the events that it confirmed; tested with `connects`
    refuses_login: bool = True  # the destination checks a password; needs `refused_profile`
    max_event_bytes: int = 64 * 1024 * 1024  # the largest body that the profile takes; set its option, too


@dataclass(frozen=True)
class Record:
    """An event as it arrived. What the destination does not keep stays at its default."""

    routing_key: str
    body: bytes
    id: str = ""
    headers: Mapping[str, Any] = field(default_factory=dict)
    content_type: str = ""


class Target:
    """A fresh destination and a reader of it. The reader must share no code with the plugin."""

    provider: str = ""  # the provider, as in `ACCT`
    keys: Sequence[str] = ()  # three different routing keys whose events `read` returns
    missing_key: str = ""  # a routing key that leads nowhere; for `refuses_missing_target`
    hub: Any = None  # set by the suite: the hub of the running bus, for destinations that live in the process

    def profile(self) -> dict[str, Any]:
        """Return the options of a profile that leads to this destination."""
        raise missing_method(self, "profile", "configure the bus")

    def fixed_profile(self) -> dict[str, Any]:
        """Return the options of a profile that sends every event to `keys[0]`; for `fixed_key`."""
        raise missing_method(self, "fixed_profile", "send every event to keys[0]", "fixed_key")

    def refused_profile(self) -> tuple[dict[str, Any], str]:
        """Return the options of a profile with a wrong password, and that password; for `refuses_login`."""
        raise missing_method(self, "refused_profile", "log in with a wrong password", "refuses_login")

    async def read(self, count: int) -> list[Record]:
        """Return the events that arrived since the last read, in order for each routing key.

        `count` more are expected. It may wait for them, or return fewer: the suite reads again, for up to a minute. If
        more arrived, it returns more: duplicates must show.
        """
        raise missing_method(self, "read", "see what arrived")

    async def kill(self) -> None:
        """Take the destination down as a crash does, such as renaming its file; for `connects`."""
        raise missing_method(self, "kill", "take the destination down", "connects")

    async def start(self) -> None:
        """Bring it up again at the same address, and return when it answers; for `connects`."""
        raise missing_method(self, "start", "bring the destination up again", "connects")

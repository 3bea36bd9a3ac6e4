"""What the parts of the conformance suite have in common."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from evbus_like.testing.conformance.target import Features, Record, Target
from evbus_like.testing.running import running

DEADLINE = 60.0  # seconds: only stops a hang


class Suite:
    """The base of the parts: the declared features, and a bus on the target."""

    features = Features()
    pytestmark = pytest.mark.asyncio  # for projects without asyncio_mode = auto

    @pytest.fixture
    def target(self) -> Target:
        """Give the target; the author's class overrides this fixture."""
        raise NotImplementedError(f"{type(self).__name__} needs a fixture `target` that gives a Target")

    def needs(self, *names: str) -> None:
        """Skip a test about a feature that is declared to be missing."""
        for name in names:
            if not getattr(self.features, name):
                pytest.skip(f"{type(self).__name__} declares {name}=False")

    @asynccontextmanager
    async def bus(self, target: Target, data: dict[str, Any] | None = None, serializer: str = "str") -> AsyncIterator:
        """Give a hub whose bus has one profile, `default`; bodies of bytes go as they are unless told otherwise."""
        async with self.profiles(target, {"default": {**(data or target.profile()), "serializer": serializer}}) as hub:
            yield hub

    @asynccontextmanager
    async def profiles(self, target: Target, profiles: dict[str, Any]) -> AsyncIterator:
        """Give a hub whose bus has these profiles of the target's provider."""
        target.hub = self.hub()
        async with running({target.provider: profiles}, target.hub, timeout=5.0) as hub:
            yield hub

    def hub(self) -> Any:
        """Give the hub for a test; override it to add what the plugin needs."""
        from evbus_like.testing.running import new_hub

        return new_hub()

    def in_order(self, bodies: Iterable[bytes]) -> list[bytes]:
        """Give bodies as they must arrive: sorted where the destination keeps no order."""
        return list(bodies) if self.features.order else sorted(bodies)

    def by_key(self, records: Iterable[Record | tuple[str, bytes]]) -> dict[str, list[bytes]]:
        """Give the bodies of each routing key, in order."""
        grouped: dict[str, list[bytes]] = defaultdict(list)
        for record in records:
            key, body = (record.routing_key, record.body) if isinstance(record, Record) else record
            grouped[key].append(body)
        return {key: self.in_order(bodies) for key, bodies in grouped.items()}


def numbered(keys: Iterable[str], count: int) -> list[tuple[str, bytes]]:
    """Give `count` routing keys and bodies, the keys taking turns and no two bodies equal."""
    keys = list(keys)
    return [(keys[number % len(keys)], b"event %d" % number) for number in range(count)]

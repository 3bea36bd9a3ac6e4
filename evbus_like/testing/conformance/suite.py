"""What the tests for destinations share."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from evbus_like.hub.profiles.plan import plan
from evbus_like.testing.conformance.failing import (
    DEADLINE,
    PAGE,
    difference,
    failure,
    missing_attribute,
    missing_fixture,
    without,
)
from evbus_like.testing.conformance.target import Features, Record, Target
from evbus_like.testing.running import new_hub, running

UNKNOWN_KIND = (
    "An exception of unknown kind is tried three times: raise TransientError to have the event retried,"
    " PoisonEvent to dead-letter it at once"
)
PAUSE = 0.05  # seconds between two reads
PATIENCE = 10  # reads that may return nothing when enough events arrived, but not those that were expected


class Suite:
    """The declared features, and a bus that sends to the target."""

    features = Features()
    pytestmark = pytest.mark.asyncio  # for projects without asyncio_mode = auto

    @pytest.fixture
    def target(self) -> Target:
        """Return the target; a plugin's test class overrides this fixture."""
        raise missing_fixture(self, Target)

    def needs(self, *names: str) -> None:
        """Skip a test of a feature that is declared False."""
        for name in names:
            if not getattr(self.features, name):
                pytest.skip(f"{type(self).__name__} declares {name}=False")

    @asynccontextmanager
    async def bus(
        self, target: Target, data: dict[str, Any] | None = None, serializer: str = "str"
    ) -> AsyncIterator[Any]:
        """Yield a hub whose bus has one profile, `default`; by default it sends bodies of bytes unchanged."""
        options = {**(profile_of(target) if data is None else data), "serializer": serializer}
        async with self.profiles(target, {"default": options}) as hub:
            yield hub

    @asynccontextmanager
    async def profiles(self, target: Target, profiles: Mapping[str, Any]) -> AsyncIterator[Any]:
        """Yield a hub whose bus has these profiles of the target's provider."""
        target.hub = self.hub()
        self.check(target, profiles)
        async with running({target.provider: profiles}, target.hub, timeout=5.0) as hub:
            yield hub

    def hub(self) -> Any:
        """Return the hub of a test; override it to add dynes that the plugin needs."""
        return new_hub()

    def check(self, target: Target, profiles: Mapping[str, Any]) -> None:
        """Fail with what is missing where the target is incomplete or no plugin takes its profiles."""
        if len(set(target.keys)) != 3:
            raise missing_attribute(target, "keys", f"3 different routing keys, not {list(target.keys)}")
        if self.features.refuses_missing_target and not target.missing_key:
            raise missing_attribute(target, "missing_key", "an unroutable routing key", "refuses_missing_target")
        for planned in plan(target.hub, {target.provider: profiles}):
            if planned.problem:
                hint = found_how("ingress") if planned.unknown else ""
                raise failure(f"profile {planned.name} cannot be used: {planned.problem}{hint}")

    async def arrived(self, target: Target, expected: Iterable[bytes | tuple[str, bytes]]) -> list[Record]:
        """Return what arrived once all expected bodies have; after a minute, fail with what is missing."""
        bodies = [each if isinstance(each, bytes) else each[1] for each in expected]
        records: list[Record] = []
        idle = 0  # reads in a row that returned nothing
        with suppress(TimeoutError):
            async with asyncio.timeout(DEADLINE):
                while without(bodies, (record.body for record in records)):
                    new = await target.read(max(0, len(bodies) - len(records)))
                    records += new
                    idle = 0 if new else idle + 1
                    if len(records) >= len(bodies) and idle > PATIENCE:
                        break  # others arrived in their place
                    if idle > PATIENCE and given_up(target.hub, len(bodies)):
                        break
                    await asyncio.sleep(0 if new else PAUSE)
        if without(bodies, (record.body for record in records)):
            said = difference(bodies, [record.body for record in records])
            raise failure(f"waited for {len(bodies)} events, read() returned: {said}. {bus_state(target.hub)}")
        return records

    def in_order(self, bodies: Iterable[bytes]) -> list[bytes]:
        """Return bodies as they must arrive: sorted where the destination keeps no order."""
        return list(bodies) if self.features.order else sorted(bodies)

    def by_key(self, records: Iterable[Record | tuple[str, bytes]]) -> dict[str, list[bytes]]:
        """Return the bodies of each routing key, in order."""
        grouped: dict[str, list[bytes]] = defaultdict(list)
        for record in records:
            key, body = (record.routing_key, record.body) if isinstance(record, Record) else record
            grouped[key].append(body)
        return {key: self.in_order(bodies) for key, bodies in grouped.items()}


def profile_of(target: Target) -> dict[str, Any]:
    """Return the profile of a target; fails where the target is not one."""
    if not isinstance(target, Target):
        raise failure(f"the fixture target returned a {type(target).__name__}; it must return a Target; {PAGE}")
    if not target.provider:
        raise missing_attribute(target, "provider", "the provider that ACCT of the plugin names")
    return target.profile()


def found_how(folder: str) -> str:
    """Say what makes a plugin of a folder be found."""
    return (
        ". Is the plugin's package installed, or the folder that holds it on sys.path (pytest's setting pythonpath)?"
        f' Does its conf.py have DYNE = {{"{folder}": ["{folder}"]}}? {PAGE}'
    )


def given_up(hub: Any, count: int) -> bool:
    """Whether the bus has given up events, so that fewer than `count` can arrive."""
    if hub is None:
        return False
    account = hub.evbus.init.account()
    return bool(account.dead_lettered and account.delivered < count and not account.remaining + account.queued)


def bus_state(hub: Any) -> str:
    """Say what the bus has counted, and what is wrong with a destination."""
    if hub is None:
        return "No bus was started"
    account = hub.evbus.init.account()
    errors = [f"{lane.destination}: {lane.error}" for lane in account.lanes if lane.error]
    text = f"The bus: {account}{'; last error: ' if errors else ''}{'; '.join(errors)}"
    if account.dead_lettered:
        reasons = [lane.last_dead_letter for lane in account.lanes if lane.last_dead_letter]
        text += f". The last dead letter: {'; '.join(reasons)}. The log names the others. {UNKNOWN_KIND}"
    return text


def numbered(keys: Iterable[str], count: int) -> list[tuple[str, bytes]]:
    """Return `count` pairs of a routing key, each in turn, and a unique body."""
    keys = list(keys)
    return [(keys[number % len(keys)], b"event %d" % number) for number in range(count)]

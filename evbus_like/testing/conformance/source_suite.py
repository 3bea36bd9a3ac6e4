"""What the tests for sources share."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from evbus_like.engine.receiving.subscription import SERVICE_POOL, Subscription
from evbus_like.hub.profiles.plan import takers
from evbus_like.testing.conformance.failing import (
    DEADLINE,
    PAGE,
    difference,
    failure,
    listed,
    missing_attribute,
    missing_fixture,
    without,
)
from evbus_like.testing.conformance.source_target import SourceFeatures, SourceTarget
from evbus_like.testing.conformance.suite import found_how
from evbus_like.testing.conformance.target import Record
from evbus_like.testing.conformance.workers import LocalWorker, ProcessWorker, Worker
from evbus_like.testing.running import new_hub, running

QUICK = {"backoff": 0.2, "max_backoff": 0.2}
SETTLE = 0.3  # seconds in which a duplicate must show


class Bench:
    """The source, the workers and the names of one test."""

    def __init__(self, target: SourceTarget, features: SourceFeatures, folder: Path) -> None:
        self.target = target
        self.features = features
        self.folder = folder
        self.orders = f"orders-{uuid.uuid4().hex[:8]}"  # the service whose events are received
        self.workers: list[Worker] = []
        self._sent = 0

    def handler(self, name: str = "ship", service: str = "shipping", **more: Any) -> dict[str, Any]:
        """Describe a handler (see probe.py); keywords that probe.py does not know become options of the handler."""
        own = ("only", "fail", "gate", "put", "is_async", "source", "event_types", "raises", "rules", "where", "pause")
        options = {key: value for key, value in more.items() if key not in own}
        described = {key: value for key, value in more.items() if key in own}
        base = {"service": service, "name": name, "source": self.orders, "event_types": ["placed"]}
        return {**base, "options": {**QUICK, **options}, **described}

    def gate(self, name: str = "gate") -> Path:
        """Return the path of a gate; `touch` opens it."""
        return self.folder / name

    async def worker(
        self, *handlers: dict[str, Any], ready: bool = True, timeout: float = 20.0, **profile: Any
    ) -> Worker:
        """Start a worker with these handlers, and wait until it receives unless `ready` is False."""
        name = f"worker{len(self.workers)}"
        made: Worker
        if self.features.processes:
            contexts = {self.target.provider: {"default": {**self.target.profile(), **profile}}}
            made = ProcessWorker(self.folder, name, contexts, handlers, timeout)
        else:
            made = LocalWorker(self.folder, name, self.target.hub, handlers, timeout)
        self.workers.append(made)
        await made.start()
        if ready:
            await made.noted("ready")
        return made

    async def send(self, *bodies: Any, event_type: str = "placed", service: str = "", **facts: Any) -> None:
        """Publish events of the service, with JSON bodies and unique ids."""
        for body in bodies:
            self._sent += 1
            given = {"id": f"id-{self._sent}", **facts}
            await self.target.publish(service or self.orders, event_type, json.dumps(body).encode(), **given)

    def subscription(self, handler: dict[str, Any]) -> Subscription:
        """Return the subscription of a described handler."""
        options = handler["options"]
        return Subscription(
            source=handler["source"],
            event_types=tuple(handler["event_types"]),
            service=handler["service"],
            name=handler["name"],
            delivery=options.get("delivery", SERVICE_POOL),
            identifier=options.get("broadcast_identifier", ""),
        )

    async def dead(self, handler: dict[str, Any], count: int) -> list[Record]:
        """Wait for `count` dead letters, and return all that arrived; fails after a minute."""
        asked, records = self.subscription(handler), list[Record]()
        for _ in range(int(DEADLINE / 0.1)):
            records += await self.target.dead_letters(asked)
            if len(records) >= count:
                await asyncio.sleep(SETTLE)
                return records + await self.target.dead_letters(asked)
            await asyncio.sleep(0.1)
        found = listed([record.body for record in records]) or "nothing"
        raise failure(
            f"waited {DEADLINE:g} s for {count} dead letters in {asked.dead}; dead_letters() returned {len(records)}:"
            f" {found}{self._outputs()}"
        )

    async def handled(self, expected: Iterable[Any], *workers: Worker) -> list[Any]:
        """Wait until workers have handled these bodies, and return all that they handled; fails after a minute."""
        wanted = list(expected)

        def done() -> list[Any]:
            return [body for each in workers for body in each.bodies()]

        for _ in range(int(DEADLINE / 0.05)):
            if not without(wanted, done()):
                await asyncio.sleep(SETTLE)
                return done()
            await asyncio.sleep(0.05)
        said = difference(wanted, done())
        raise failure(f"waited {DEADLINE:g} s for {len(wanted)} handled events: {said}{self._outputs(workers)}")

    async def handled_once(self, expected: Iterable[Any], *workers: Worker) -> None:
        """Wait until workers have handled these bodies, and assert that they handled each once and no others."""
        wanted = sorted(expected)
        assert sorted(await self.handled(wanted, *workers)) == wanted

    def _outputs(self, workers: Iterable[Worker] | None = None) -> str:
        return "".join(each.output() for each in (self.workers if workers is None else workers))

    async def end(self) -> None:
        """Kill the workers that still run."""
        for each in self.workers:
            if each.alive():
                await each.kill()


class SourceSuite:
    """The declared features, and a bench for each test."""

    features = SourceFeatures()
    pytestmark = pytest.mark.asyncio  # for projects without asyncio_mode = auto

    @pytest.fixture
    def target(self) -> SourceTarget:
        """Return the target; a plugin's test class overrides this fixture."""
        raise missing_fixture(self, SourceTarget)

    def needs(self, *names: str) -> None:
        """Skip a test of a feature that is declared False."""
        for name in names:
            if not getattr(self.features, name):
                pytest.skip(f"{type(self).__name__} declares {name}=False")

    @asynccontextmanager
    async def bench(self, target: SourceTarget, folder: Path, **profile: Any) -> AsyncIterator[Bench]:
        """Yield a bench; a source that lives in the process gets a bus with these options of the profile."""
        check(target)
        bench = Bench(target, self.features, folder)
        await target.prepare(bench.orders)
        try:
            if self.features.processes:
                yield bench
            else:
                contexts = {target.provider: {"default": {**target.profile(), **profile}}}
                async with running(contexts, target.hub, 5.0):
                    try:
                        yield bench
                    finally:
                        await bench.end()
        finally:
            await bench.end()


def check(target: SourceTarget) -> None:
    """Give the target a hub, and fail with what is missing where it is incomplete or no plugin takes its provider."""
    if not isinstance(target, SourceTarget):
        raise failure(f"the fixture target returned a {type(target).__name__}; it must return a SourceTarget; {PAGE}")
    if not target.provider:
        raise missing_attribute(target, "provider", "the provider that ACCT of the plugin names")
    target.hub = new_hub()
    if target.provider not in takers(target.hub, "egress"):
        raise failure(f"no egress plugin takes the provider {target.provider!r}{found_how('egress')}")


def numbered(count: int, prefix: str = "event") -> list[str]:
    """Return unique bodies."""
    return [f"{prefix} {number}" for number in range(count)]

"""What the parts of the conformance suite of sources have in common."""

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
from evbus_like.testing.conformance.source_target import SourceFeatures, SourceTarget
from evbus_like.testing.conformance.target import Record
from evbus_like.testing.conformance.workers import DEADLINE, LocalWorker, ProcessWorker, Worker
from evbus_like.testing.running import new_hub, running

QUICK = {"backoff": 0.2, "max_backoff": 0.2}


class Bench:
    """One test's source, workers and names; everything that was started is ended with it."""

    def __init__(self, target: SourceTarget, features: SourceFeatures, folder: Path) -> None:
        self.target = target
        self.features = features
        self.folder = folder
        self.orders = f"orders-{uuid.uuid4().hex[:8]}"  # the service whose events are received
        self.workers: list[Any] = []
        self._sent = 0

    def handler(self, name: str = "ship", service: str = "shipping", **more: Any) -> dict[str, Any]:
        """Describe a handler (see probe.py); what probe.py does not know are options of the handler."""
        own = ("only", "fail", "gate", "put", "is_async", "source", "event_types")
        options = {key: value for key, value in more.items() if key not in own}
        told = {key: value for key, value in more.items() if key in own}
        base = {"service": service, "name": name, "source": self.orders, "event_types": ["placed"]}
        return {**base, "options": {**QUICK, **options}, **told}

    def gate(self, name: str = "gate") -> Path:
        """Give the path of a gate; `touch` opens it."""
        return self.folder / name

    async def worker(self, *handlers: dict[str, Any], ready: bool = True, timeout: float = 20.0, **profile: Any) -> Any:
        """Start a worker and wait until it receives."""
        name = f"worker{len(self.workers)}"
        data = {**self.target.profile(), **profile}
        made: Worker
        if self.features.processes:
            contexts = {self.target.provider: {"default": data}}
            made = ProcessWorker(self.folder, name, contexts, handlers, timeout)
        else:
            made = LocalWorker(self.folder, name, self.target.hub, handlers, timeout)
        self.workers.append(made)
        await made.start()  # type: ignore[attr-defined]
        if ready:
            await made.noted("ready")
        return made

    async def send(self, *bodies: Any, event_type: str = "placed", service: str = "", **facts: Any) -> None:
        """Publish events of the service, their bodies as JSON, each with an id of its own."""
        for body in bodies:
            self._sent += 1
            given = {"id": f"id-{self._sent}", **facts}
            await self.target.publish(service or self.orders, event_type, json.dumps(body).encode(), **given)

    def subscription(self, handler: dict[str, Any]) -> Subscription:
        """Give the subscription that a description of a handler leads to."""
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
        """Wait for so many dead letters, and give all that came; raises AssertionError after a minute."""
        letters: list[Record] = []
        for _ in range(int(DEADLINE / 0.1)):
            letters += await self.target.dead_letters(self.subscription(handler))
            if len(letters) >= count:
                await asyncio.sleep(0.3)  # one too many must show
                return letters + await self.target.dead_letters(self.subscription(handler))
            await asyncio.sleep(0.1)
        raise AssertionError(f"{len(letters)} dead letters came, not {count}")

    async def all_done(self, count: int, *workers: Any) -> list[Any]:
        """Wait until workers have handled so many events together, and a while for more; give all bodies."""
        for _ in range(int(DEADLINE / 0.05)):
            if len(done := [body for each in workers for body in each.bodies()]) >= count:
                await asyncio.sleep(0.3)
                return [body for each in workers for body in each.bodies()]
            await asyncio.sleep(0.05)
        outputs = "".join(each.output() for each in workers)
        raise AssertionError(f"{len(done)} events were handled, not {count}{outputs}")

    async def end(self) -> None:
        """End the workers that a test left."""
        for each in self.workers:
            if isinstance(each, ProcessWorker):
                if each.alive():
                    await each.kill()
            else:
                await each.kill()


class SourceSuite:
    """The base of the parts: the declared features, and a bench for each test."""

    features = SourceFeatures()
    pytestmark = pytest.mark.asyncio  # for projects without asyncio_mode = auto

    @pytest.fixture
    def target(self) -> SourceTarget:
        """Give the target; the author's class overrides this fixture."""
        raise NotImplementedError(f"{type(self).__name__} needs a fixture `target` that gives a SourceTarget")

    def needs(self, *names: str) -> None:
        """Skip a test about a feature that is declared to be missing."""
        for name in names:
            if not getattr(self.features, name):
                pytest.skip(f"{type(self).__name__} declares {name}=False")

    @asynccontextmanager
    async def bench(self, target: SourceTarget, folder: Path, **profile: Any) -> AsyncIterator[Bench]:
        """Give a bench; where the source lives in the process, its bus runs with these options of the profile."""
        bench = Bench(target, self.features, folder)
        await target.prepare(bench.orders)
        try:
            if self.features.processes:
                yield bench
            else:
                target.hub = new_hub()
                async with running({target.provider: {"default": {**target.profile(), **profile}}}, target.hub, 5.0):
                    try:
                        yield bench
                    finally:
                        await bench.end()
        finally:
            await bench.end()


def numbered(count: int, prefix: str = "event") -> list[str]:
    """Give bodies, no two equal."""
    return [f"{prefix} {number}" for number in range(count)]


def each_once(bodies: Iterable[Any], expected: Iterable[Any]) -> None:
    """Assert that every expected body is there once, whatever the order."""
    assert sorted(bodies) == sorted(expected)

"""The conformance suite on the in-memory queues."""

import pytest

from evbus_like.testing import eventually
from evbus_like.testing.conformance import Features, IngressConformance, Record, Target


class MemoryTarget(Target):
    """Three queues of the hub."""

    provider = "internal"
    keys = ("one", "two", "three")

    def __init__(self, **options):
        self.options = options

    def profile(self):
        return self.options

    def fixed_profile(self):
        return {"routing_key": "one", **self.options}

    async def read(self, count):
        await eventually(lambda: sum(queue.qsize() for queue in self.queues().values()) >= count)
        return [self.record(key, queue) for key, queue in self.queues().items() for _ in range(queue.qsize())]

    def queues(self):
        return self.hub.ingress.internal.QUEUE

    def record(self, key, queue):
        event = queue.get_event_nowait()
        headers = {"evbus-id": event.id, **(event.headers or {})}
        return Record(key, event.body, event.id, headers, event.content_type)


class TestInternal(IngressConformance):
    features = Features(refuses_missing_target=False, connects=False, refuses_login=False)

    @pytest.fixture
    def target(self):
        return MemoryTarget()


class TestDurable(IngressConformance):
    """A profile with an outbox differs in nothing that a destination, or the application, can see."""

    features = Features(refuses_missing_target=False, connects=False, refuses_login=False)

    @pytest.fixture
    def target(self, tmp_path, monkeypatch):
        monkeypatch.setenv("EVBUS_OUTBOX", str(tmp_path / "outbox.sqlite"))
        return MemoryTarget(outbox="always")

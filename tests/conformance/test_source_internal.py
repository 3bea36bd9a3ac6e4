"""The conformance suite of sources on the in-memory exchanges."""

import pytest

from evbus_like.plugin import Event
from evbus_like.testing.conformance import Record, SourceConformance, SourceFeatures, SourceTarget


class MemorySource(SourceTarget):
    """The exchanges of the hub."""

    provider = "internal"

    def profile(self):
        return {}

    async def publish(self, service, event_type, body, headers=None, id="", content_type="application/json", key=None):
        event = Event(event_type, body, "default", {**(headers or {}), "evbus-service": service}, key)
        event.id, event.content_type = id, content_type
        exchange = self.hub.ingress.internal.EXCHANGES.get(f"{service}.events")
        if exchange is not None:
            assert exchange.put(event) is None, "a queue is full"

    async def dead_letters(self, subscription):
        queue = await self.hub.ingress.internal.get(subscription.dead)
        events = [queue.get_event_nowait() for _ in range(queue.qsize())]
        return [Record(each.routing_key, each.body, each.id, each.headers, each.content_type) for each in events]


class TestInternal(SourceConformance):
    features = SourceFeatures(processes=False, survives_restart=False, delays=True, dead_letters=False)

    @pytest.fixture
    def target(self):
        return MemorySource()
